internal import Glibc
internal import LinuxSystem
internal import SystemPackage

/// One run of one plugin: configuration in, answer out, within bounds of time and size.
struct PluginRun: Sendable {
  var path: String
  var type: String
  var command: String
  var network: String
  /// `KEY=value`.
  var environment: [String]
  var input: [UInt8]
  var timeout: Duration

  /// More than any result needs.
  private static let outputLimit = 1 << 20
  private static let errorLimit = 64 << 10

  /// Blocking; on a thread that may.
  /// - Returns: standard output of a plugin that ended with 0.
  func run() throws(CNIError) -> [UInt8] {
    let ended: Ended
    do {
      ended = try spawnAndWait()
    } catch {
      throw .system("run plugin \"\(type)\"", error)
    }
    guard let status = ended.status else {
      throw .timedOut(plugin: type, command: command, network: network, limit: timeout)
    }
    guard ended.output.count < Self.outputLimit else {
      throw bad("its answer is longer than \(Self.outputLimit) bytes")
    }
    guard status != .exited(code: 0) else { return ended.output }
    throw .plugin(refusal(status, ended))
  }

  func bad(_ reason: String) -> CNIError {
    .badAnswer(plugin: type, command: command, network: network, reason: reason)
  }

  private func refusal(_ status: ExitStatus, _ ended: Ended) -> CNIError.Refusal {
    let exit =
      switch status {
      case .exited(let code): "it ended with \(code)"
      case .killed(let signal): "it was killed by signal \(signal)"
      }
    var refusal = CNIError.Refusal(
      plugin: type, command: command, network: network, code: nil, message: "", details: "", exit: exit)
    if let answer = try? JSON(parsing: ended.output), let message = answer["msg"]?.string {
      refusal.code = answer["code"]?.int.map(Int.init)
      refusal.message = Self.oneLine(message)
      refusal.details = Self.oneLine(answer["details"]?.string ?? "")
    } else {
      // A plugin that breaks the protocol says something on standard error, most often.
      refusal.details = Self.oneLine(String(decoding: ended.errors.suffix(500), as: UTF8.self))
    }
    return refusal
  }

  private static func oneLine(_ text: String) -> String {
    let shown = text.map { $0.isNewline || $0 == "\t" ? " " : $0 }.prefix(1000)
    return String(shown).split(separator: " ").joined(separator: " ")
  }

  // MARK: the process

  private struct Ended {
    /// nil: it was killed at the deadline.
    var status: ExitStatus?
    var output: [UInt8]
    var errors: [UInt8]
  }

  private func spawnAndWait() throws(SystemCallError) -> Ended {
    let streams = try PluginStreams(input: input, limits: (Self.outputLimit, Self.errorLimit))
    let process = try spawnProcess(
      path: path, arguments: [type], environment: environment, descriptors: streams.childDescriptors, cgroup: nil,
      newSession: true)
    streams.closeChildEnds()
    let deadline = ContinuousClock.now + timeout
    while !process.pidfd.hasExited(), streams.output.count < Self.outputLimit {
      let left = deadline - .now
      guard left > .zero else { break }
      let milliseconds = Int32(clamping: left.components.seconds * 1000 + 1)
      process.pidfd.withRawDescriptor { streams.exchange(until: $0, milliseconds: milliseconds) }
    }
    let isDone = process.pidfd.hasExited() || streams.output.count >= Self.outputLimit
    // It leads a session, so that what it has started is in its group.
    if !process.pidfd.hasExited() { kill(-process.pid, SIGKILL) }
    process.pidfd.withRawDescriptor { raw in
      var waiting = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
      _ = poll(&waiting, 1, 10_000)
    }
    streams.drain()
    let status = try process.pidfd.reap()
    return Ended(status: isDone ? status : nil, output: streams.output, errors: streams.errors)
  }
}

/// A plugin's standard streams as we hold them. Used by one thread.
private final class PluginStreams {
  private(set) var output: [UInt8] = []
  private(set) var errors: [UInt8] = []
  private var input: ArraySlice<UInt8>
  private var stdin: SharedFD?
  private let stdout: SharedFD
  private let stderr: SharedFD
  private let limits: (output: Int, errors: Int)
  private var isOutputOpen = true
  private var isErrorOpen = true
  /// What becomes 0, 1 and 2 of the plugin.
  private var childEnds: [SharedFD]

  init(input: [UInt8], limits: (output: Int, errors: Int)) throws(SystemCallError) {
    let pipes = [try Pipe(), try Pipe(), try Pipe()]
    self.input = input[...]
    self.limits = limits
    stdin = pipes[0].writing
    stdout = pipes[1].reading
    stderr = pipes[2].reading
    childEnds = [pipes[0].reading, pipes[1].writing, pipes[2].writing]
    for end in [pipes[0].writing, pipes[1].reading, pipes[2].reading] { try Pipe.stopBlocking(end) }
  }

  var childDescriptors: [(source: Int32, target: Int32)] {
    childEnds.enumerated().map { (source: $1.raw, target: Int32($0)) }
  }

  /// Once the plugin has them: while we hold them too, neither side sees the other's end.
  func closeChildEnds() { childEnds = [] }

  /// Waits until a stream or the process has something, and moves what can be moved.
  func exchange(until process: Int32, milliseconds: Int32) {
    var waiting = [
      pollfd(fd: process, events: Int16(POLLIN), revents: 0),
      pollfd(fd: stdin?.raw ?? -1, events: Int16(POLLOUT), revents: 0),
      pollfd(fd: isOutputOpen ? stdout.raw : -1, events: Int16(POLLIN), revents: 0),
      pollfd(fd: isErrorOpen ? stderr.raw : -1, events: Int16(POLLIN), revents: 0),
    ]
    guard poll(&waiting, nfds_t(waiting.count), milliseconds) > 0 else { return }
    if waiting[1].revents != 0 { feed() }
    if waiting[2].revents != 0 || waiting[3].revents != 0 { drain() }
  }

  /// Reads what is there without waiting; beyond the limits it is read and dropped.
  func drain() {
    if isOutputOpen { isOutputOpen = Self.read(stdout.raw, into: &output, limit: limits.output) }
    if isErrorOpen { isErrorOpen = Self.read(stderr.raw, into: &errors, limit: limits.errors) }
  }

  /// A plugin that does not read its configuration is not our trouble (SIGPIPE is ignored).
  private func feed() {
    guard let stdin else { return }
    let written = input.withUnsafeBytes { write(stdin.raw, $0.baseAddress, $0.count) }
    if written > 0 { input = input.dropFirst(written) }
    if input.isEmpty || (written < 0 && errno != EAGAIN && errno != EINTR) { self.stdin = nil }
  }

  /// - Returns: false at the end of the stream.
  private static func read(_ raw: Int32, into bytes: inout [UInt8], limit: Int) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 16 << 10)
    while true {
      let count = Glibc.read(raw, &buffer, buffer.count)
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return count < 0 && errno == EAGAIN }
      bytes += buffer[..<min(count, max(0, limit - bytes.count))]
    }
  }
}
