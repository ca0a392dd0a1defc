internal import CLinux
internal import Glibc
package import RuntimeModel
internal import Synchronization

/// A place where a test lets the daemon die, fail, stop or be slow; the names are what `SWIFTLET_FAILPOINTS` knows.
///
/// Off unless armed at the start of the daemon; a place that is off costs one relaxed load.
package enum Failpoint: String, CaseIterable, Sendable {
  // RunPodSandbox, in order; network and shim side by side.
  /// The lease is chosen, nothing is written.
  case runLeased = "run.leased"
  /// The record with the lease is on disk.
  case runRecorded = "run.recorded"
  /// Before a pod's user namespace is made.
  case runUsers = "run.users"
  /// Before the shim's files and cgroup.
  case runShim = "run.shim"
  /// Files and cgroup are there, the shim is not.
  case runSpawn = "run.spawn"
  /// The shim runs and the network is attached, before pause.
  case runPause = "run.pause"
  /// Pause runs, the record does not say ready.
  case runReady = "run.ready"
  /// All is written, the client knows nothing.
  case runAnswer = "run.answer"

  // Attach, each before its step.
  case attachNamespace = "net.attach.namespace"
  case attachVeth = "net.attach.veth"
  case attachInside = "net.attach.inside"
  case attachHost = "net.attach.host"
  case attachPorts = "net.attach.ports"
  case attachConntrack = "net.attach.conntrack"
  case attachDone = "net.attach.done"

  // Detach, each before its step.
  case detachMark = "net.detach.mark"
  case detachPorts = "net.detach.ports"
  case detachConntrack = "net.detach.conntrack"
  case detachCut = "net.detach.cut"
  case detachDone = "net.detach.done"
  /// The kernel has removed the link, the address does not rest yet.
  case detachLinkGone = "net.detach.link_gone"

  // StopPodSandbox and RemovePodSandbox, each before its step.
  case stopMark = "stop.mark"
  case stopNetwork = "stop.network"
  case stopProcesses = "stop.processes"
  case stopContainers = "stop.containers"
  case stopCgroups = "stop.cgroups"
  case stopFiles = "stop.files"
  case stopRecord = "stop.record"
  case stopAnswer = "stop.answer"
  case removeRecord = "remove.record"
  case removeAnswer = "remove.answer"

  // CreateContainer.
  /// The writable layer is there, the record is not.
  case createRecord = "create.record"
  /// All is written, the client knows nothing.
  case createAnswer = "create.answer"

  // StartContainer, in order.
  /// Nothing is written.
  case startIntent = "start.intent"
  /// The record says that it starts; there is no cgroup.
  case startCgroup = "start.cgroup"
  /// The cgroup has its limits, the shim knows nothing.
  case startProcess = "start.process"
  /// The program runs, the record does not say so.
  case startRecord = "start.record"
  /// All is written, the client knows nothing.
  case startAnswer = "start.answer"

  /// UpdateContainerResources: limits and record are changed, the scores of its processes are not.
  case updateScore = "update.score"

  // The end of a container.
  /// StopContainer, before the stop signal.
  case endSignal = "end.signal"
  /// StopContainer, before SIGKILL.
  case endKill = "end.kill"
  /// The shim has told the end of pause, which is known and not written.
  case pauseRecord = "pause.record"
  /// The shim has told an exit, which is not written.
  case exitRecord = "exit.record"
  /// RemoveContainer has stopped it and has removed nothing.
  case discardLayer = "discard.layer"
  /// The writable layer is gone, the record is not.
  case discardRecord = "discard.record"
  /// All is gone, the client knows nothing.
  case discardAnswer = "discard.answer"

  private static let isArmed = Atomic<Bool>(false)
  private static let armed = Mutex(FailpointTable())

  /// Replaces what is armed; see ``FailpointTable``.
  /// - Returns: what is armed, for the log.
  /// - Throws: `invalidArgument` naming what is no failpoint or no action.
  @discardableResult
  package static func arm(_ text: String) throws(RuntimeError) -> [String] {
    let table = try FailpointTable(text)
    armed.withLock { $0 = table }
    isArmed.store(!table.isEmpty, ordering: .relaxed)
    return text.split(separator: ",").map(String.init)
  }

  /// The daemon has come to this place.
  /// - Returns: 0, or the errno that the step shall fail with.
  @discardableResult
  package func reach() -> Int32 {
    guard Self.isArmed.load(ordering: .relaxed) else { return 0 }
    return act()
  }

  /// Whether anything is armed.
  package static var isAnyArmed: Bool { isArmed.load(ordering: .relaxed) }

  /// As `reach`, for a place that has no errno of its own.
  /// - Throws: `internalError` naming the place.
  package func pass() throws(RuntimeError) {
    let number = reach()
    guard number == 0 else { throw RuntimeError(.internalError, "failpoint \(rawValue): \(Self.name(number))") }
  }

  private func act() -> Int32 {
    guard let action = Self.armed.withLock({ $0.visit(self) }) else { return 0 }
    // Not through the logger: it may write later, and a killed process has no later.
    let line = "failpoint \(rawValue): \(action)\n"
    _ = line.withCString { Glibc.write(STDERR_FILENO, $0, strlen($0)) }
    switch action {
    // The signal comes before any code behind this call.
    case .kill: Glibc.kill(getpid(), SIGKILL)
    case .pause: Glibc.kill(getpid(), SIGSTOP)
    case .stretch(let milliseconds): usleep(milliseconds * 1000)
    case .hold(let path):
      let gate = open(path, O_RDONLY | O_CLOEXEC)
      if gate >= 0 { close(gate) }
    case .fail(let number): return number
    }
    return 0
  }

  private static func name(_ number: Int32) -> String {
    clinux_host_error_name(number).map { String(cString: $0) } ?? "errno \(number)"
  }
}

/// Which places are armed with what. Pure.
struct FailpointTable: Sendable {
  /// What happens at a place.
  enum Action: Sendable, Equatable {
    /// SIGKILL to the daemon.
    case kill
    /// The step fails with this errno.
    case fail(Int32)
    /// SIGSTOP to the daemon: it goes on with SIGCONT.
    case pause
    /// The calling thread sleeps so many milliseconds.
    case stretch(UInt32)
    /// The calling thread waits until somebody opens the named pipe at this path for writing.
    case hold(String)
  }

  private struct Armed: Sendable {
    var action: Action
    /// Acts at this visit alone, counted from 1; nil: at each.
    var visit: Int?
    var visits = 0
  }

  private var points: [Failpoint: Armed] = [:]

  var isEmpty: Bool { points.isEmpty }

  init() {}

  /// - Parameter text: `name=action` joined by commas. Actions: `kill`, `pause`, `error:ERRNO`, `stretch:MILLISECONDS`,
  ///   `hold:PIPE`; before one `N*` lets it act at the N-th visit alone.
  /// - Throws: `invalidArgument` naming what is no failpoint or no action.
  init(_ text: String) throws(RuntimeError) {
    for item in text.split(separator: ",") {
      let parts = item.split(separator: "=", maxSplits: 1)
      guard parts.count == 2, let point = Failpoint(rawValue: String(parts[0])) else {
        let known = Failpoint.allCases.map(\.rawValue).joined(separator: ", ")
        throw RuntimeError(.invalidArgument, "failpoint \"\(item)\" is not NAME=ACTION with one of \(known)")
      }
      points[point] = try Self.armed(parts[1], point)
    }
  }

  private static func armed(_ text: Substring, _ point: Failpoint) throws(RuntimeError) -> Armed {
    let failure = RuntimeError(
      .invalidArgument,
      "failpoint \(point.rawValue): \"\(text)\" is not kill, pause, error:ERRNO, stretch:MILLISECONDS or hold:PIPE, or N* and that"
    )
    var rest = text
    var visit: Int?
    if let star = text.firstIndex(of: "*") {
      guard let number = Int(text[..<star]), number > 0 else { throw failure }
      visit = number
      rest = text[text.index(after: star)...]
    }
    let words = rest.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    switch (words.first, words.count > 1 ? words[1] : nil) {
    case ("kill", nil): return Armed(action: .kill, visit: visit)
    case ("pause", nil): return Armed(action: .pause, visit: visit)
    case ("error", let name?):
      guard let number = errno(named: name) else { throw failure }
      return Armed(action: .fail(number), visit: visit)
    case ("stretch", let milliseconds?):
      guard let number = UInt32(milliseconds), number <= 600_000 else { throw failure }
      return Armed(action: .stretch(number), visit: visit)
    case ("hold", let path?): return Armed(action: .hold(String(path)), visit: visit)
    default: throw failure
    }
  }

  private static func errno(named name: Substring) -> Int32? {
    (1..<200).first { number in
      clinux_host_error_name(number).map { String(cString: $0) == name } ?? false
    }
  }

  /// - Returns: what is to happen now.
  mutating func visit(_ point: Failpoint) -> Action? {
    guard var armed = points[point] else { return nil }
    armed.visits += 1
    points[point] = armed
    return armed.visit == nil || armed.visit == armed.visits ? armed.action : nil
  }
}
