import CLinux
import CShimMessages

/// The running side of a container, from its clone to the publication of its exit.
final class ShimTask: OutputSink {
  /// What Start is waiting for.
  struct Starting {
    let call: Call
    let status: StatusPipe
    let warnings: [String]
    /// Read from the status pipe: answered once the process is reaped.
    var failure: StepFailure?
    /// The caller's patience has ended.
    var timer: Loop.TimerToken = 0
  }

  /// How the process ended.
  struct Ending {
    let exitCode: Int32
    let outOfMemory: Bool
    let finishedAt: Int64
  }

  let id: String
  let cgroup: CgroupPaths
  /// The kernel ends all of its processes with the first.
  let ownsPidNamespace: Bool
  var pid: Int32
  var pidfd: Int32
  /// Set until Start has been answered.
  var starting: Starting?
  /// Wall clock, nanoseconds; 0 until the program was exec'd.
  var startedAt: Int64 = 0
  /// Set when the process has been reaped and its output is still being read.
  var ending: Ending?
  /// Until when the output may still come.
  var drainTimer: Loop.TimerToken = 0
  /// Closed before the exit is told.
  private(set) var log: LogFile?
  /// Called when the last stream has ended.
  var onDrained: (() -> Void)?

  private let memoryKillsBefore: UInt64?
  private var streams: [OutputStream] = []
  private var records: [LogStream] = []
  /// Keeps the container's stdin open; of a terminal it is there in any case.
  private(set) var input: TaskInput?
  let isTerminal: Bool
  /// Whether clients' input goes to the container.
  let takesInput: Bool
  let stdinOnce: Bool
  /// Where the terminal's master comes before the program begins, or -1.
  private var terminalSocket: Int32 = -1
  var attachments: [Attachment] = []

  init(_ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>, log: LogFile?) {
    id = text(request.pointee.container_id)
    cgroup = CgroupPaths(request.pointee.cgroup)
    ownsPidNamespace = request.pointee.namespaces.map { $0.pointee.pid == NamespaceMode.container } ?? false
    let limit = Int(request.pointee.log_line_limit)
    records = [LogStream(isError: false, limit: limit), LogStream(isError: true, limit: limit)]
    memoryKillsBefore = cgroup.memoryKills()
    isTerminal = request.pointee.process.map { $0.pointee.tty != 0 } ?? false
    takesInput = request.pointee.stdin != 0
    stdinOnce = request.pointee.stdin_once != 0
    self.log = log
    pid = -1
    pidfd = -1
  }

  deinit {
    closeAndForget(&pidfd)
    closeAndForget(&terminalSocket)
  }

  /// The process is there and its output can be read; that of a terminal when its master has come.
  func follow(_ pipes: Pipes, loop: Loop, scratch: Scratch) {
    terminalSocket = pipes.takeTerminalSocket()
    if !isTerminal { follow(pipes.takeOurs(), loop: loop, scratch: scratch) }
  }

  /// The program begins: its terminal has been handed over.
  func takeTerminal(loop: Loop, scratch: Scratch) throws(StepFailure) {
    guard isTerminal else { return }
    var master: Int32 = -1
    let got = clinux_take_descriptor(terminalSocket, &master)
    closeAndForget(&terminalSocket)
    guard got > 0, master >= 0 else {
      throw StepFailure(step: "take terminal", errno: got < 0 ? -got : EPROTO, subject: "")
    }
    let input = clinux_fcntl(master, F_DUPFD_CLOEXEC, 3)
    if input < 0 { _ = close(master) }
    try require(input, "take terminal")
    follow(Stdio(input: input, output: master, error: -1), loop: loop, scratch: scratch)
  }

  private func follow(_ ends: Stdio, loop: Loop, scratch: Scratch) {
    if ends.input >= 0 { input = TaskInput(ends.input, loop: loop) }
    streams = [OutputStream(ends.output, isError: false, loop: loop, scratch: scratch, sink: self)]
    if ends.error >= 0 {
      streams.append(OutputStream(ends.error, isError: true, loop: loop, scratch: scratch, sink: self))
    }
  }

  func received(_ bytes: UnsafeRawBufferPointer, from stream: OutputStream) {
    if let log { records[stream.isError ? 1 : 0].received(bytes, to: log) }
    for client in attachments { client.received(bytes, isError: stream.isError) }
  }

  func ended(_ stream: OutputStream) {
    if isTerminal { input?.giveUp() }
    if isDrained { onDrained?() }
  }

  var isDrained: Bool {
    for stream in streams where stream.isOpen { return false }
    return true
  }

  /// Reads what is in the pipes now.
  func drain() {
    for stream in streams { stream.drain() }
  }

  /// No more output: writes the last unended lines and closes the log.
  /// - Returns: how many bytes of the log could not be written.
  @discardableResult
  func closeOutput() -> UInt64 {
    for stream in streams { stream.close() }
    if let log {
      for record in records { record.finish(to: log) }
      log.tellLoss()
    }
    let lost = log?.lostBytes ?? 0
    log = nil
    streams = []
    records = []
    onDrained = nil
    for client in attachments { client.end() }
    input?.close()
    input = nil
    closeAndForget(&pidfd)
    return lost
  }

  /// Decides what the end was; before anybody is told, while the cgroup is still there.
  func ended(code: Int32, status: Int32) {
    let killed = code != CLD_EXITED
    var outOfMemory = false
    if killed, status == SIGKILL, let before = memoryKillsBefore, let now = cgroup.memoryKills() {
      outOfMemory = now > before
    }
    ending = Ending(
      exitCode: killed ? 128 + status : status & 0xff, outOfMemory: outOfMemory,
      finishedAt: max(wallClock(), startedAt))
  }
}

/// The protocol's numbers as protoc-c spells them.
enum NamespaceMode {
  static let pod = SWIFTLET__SHIM__V1__NAMESPACE_MODE__POD
  static let container = SWIFTLET__SHIM__V1__NAMESPACE_MODE__CONTAINER
  static let node = SWIFTLET__SHIM__V1__NAMESPACE_MODE__NODE
  static let target = SWIFTLET__SHIM__V1__NAMESPACE_MODE__TARGET
}
