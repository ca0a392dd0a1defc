import CLinux
import CShimMessages

/// One ExecSync or Exec, from its clone to its answer.
final class Exec: OutputSink {
  /// How long output may come after the process has ended, and after it was killed.
  private static let drainTime: Int64 = 5_000_000_000
  private static let drainTimeKilled: Int64 = 500_000_000

  let task: ShimTask
  /// -1 once reaped.
  private(set) var pid: Int32
  let connection: Connection
  private let call: Call
  private let shim: Shim
  private let cgroup: CgroupPaths
  private var pidfd: Int32
  private var status: StatusPipe?
  private var failure: StepFailure?
  private var streams: [OutputStream] = []
  private var output = ByteBlock()
  private var errors = ByteBlock()
  private let limit: Int
  /// An Exec: its output goes to the caller by itself.
  private let isSession: Bool
  private var exitCode: Int32?
  private var truncated = false
  private var timedOut = false
  /// The caller's own patience ended, not the command's time.
  private var callTimedOut = false
  private var answered = false
  private var timer: Loop.TimerToken = 0
  private var drainTimer: Loop.TimerToken = 0

  init(
    _ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__ExecSyncRequest>, task: ShimTask, outcome: CloneOutcome,
    ends: Stdio, shim: Shim
  ) {
    self.call = call
    self.task = task
    self.shim = shim
    isSession = false
    connection = call.connection
    pid = outcome.pid
    pidfd = outcome.pidfd
    cgroup = CgroupPaths(request.pointee.cgroup)
    let asked = request.pointee.output_limit
    limit = asked == 0 ? Exec.largestLimit : Int(min(asked, UInt64(Exec.largestLimit)))
    streams = [
      OutputStream(ends.output, isError: false, loop: shim.loop, scratch: shim.scratch, sink: self),
      OutputStream(ends.error, isError: true, loop: shim.loop, scratch: shim.scratch, sink: self),
    ]
    status = StatusPipe(outcome.status, loop: shim.loop) { self.started($0) }
    let patience = [request.pointee.timeout_nano, call.timeout].filter { $0 > 0 }.min()
    let callIsFirst = call.timeout > 0 && call.timeout == patience && request.pointee.timeout_nano != patience
    if let patience {
      timer = shim.loop.after(patience) {
        self.timer = 0
        self.timePassed(callTimedOut: callIsFirst)
      }
    }
  }

  /// An Exec, which has no end but its process's.
  init(
    _ call: Call, _ group: UnsafePointer<Swiftlet__Shim__V1__Cgroup>?, task: ShimTask, outcome: CloneOutcome, shim: Shim
  ) {
    self.call = call
    self.task = task
    self.shim = shim
    isSession = true
    connection = call.connection
    pid = outcome.pid
    pidfd = outcome.pidfd
    cgroup = CgroupPaths(group)
    limit = 0
    status = StatusPipe(outcome.status, loop: shim.loop) { self.started($0) }
  }

  deinit {
    closeAndForget(&pidfd)
  }

  /// Bytes of both streams in an answer, so that it stays below a frame's limit with all that is around them.
  static let largestLimit = (16 << 20) - (64 << 10)
  /// Bytes of output that all execs of a pod hold together: the rest of what they write is thrown away.
  static let podLimit = 32 << 20

  private func started(_ report: [UInt8]) {
    status = nil
    guard !report.isEmpty else { return }
    failure = readStepFailure(report) ?? StepFailure(step: "exec", errno: EIO, subject: "")
  }

  func received(_ bytes: UnsafeRawBufferPointer, from stream: OutputStream) {
    guard !answered else { return }
    let room = max(0, min(limit - output.count - errors.count, Exec.podLimit - shim.execBytes))
    let kept = min(room, bytes.count)
    if kept < bytes.count { truncated = true }
    guard kept > 0 else { return }
    let piece = UnsafeRawBufferPointer(rebasing: bytes[..<kept])
    let done = stream.isError ? errors.append(piece) : output.append(piece)
    if done { shim.execBytes += kept } else { truncated = true }
  }

  func ended(_ stream: OutputStream) {
    finishIfComplete()
  }

  /// The process has been reaped.
  func ended(code: Int32, status signal: Int32) {
    status?.ready()
    pid = -1
    closeAndForget(&pidfd)
    exitCode = code == CLD_EXITED ? signal & 0xff : 128 + signal
    for stream in streams { stream.drain() }
    if answered || failure != nil { return finish() }
    if finishIfComplete() { return }
    shim.loop.cancel(&drainTimer)
    drainTimer = shim.loop.after(timedOut ? Exec.drainTimeKilled : Exec.drainTime) {
      self.drainTimer = 0
      self.finish()
    }
  }

  @discardableResult
  private func finishIfComplete() -> Bool {
    guard exitCode != nil else { return false }
    for stream in streams where stream.isOpen { return false }
    finish()
    return true
  }

  // MARK: - ending it

  private func timePassed(callTimedOut: Bool) {
    // The command itself has ended in time; what holds its output open is not waited for any longer.
    if exitCode != nil { return finish() }
    timedOut = true
    self.callTimedOut = callTimedOut
    killAll()
    // A process that cannot die (in a system call that never ends) must not keep the caller.
    drainTimer = shim.loop.after(Exec.drainTimeKilled) {
      self.drainTimer = 0
      self.answer()
    }
  }

  /// The caller has gone: as if the time had passed, with nobody to tell. An Exec goes on (CRI.md 5.7).
  func cancel() {
    guard !answered else { return }
    answered = true
    if isSession { return }
    killAll()
    if exitCode != nil { finish() }
  }

  /// Kills the process and all that came from it.
  func killAll() {
    if pid > 0 {
      if !cgroup.isApart(from: task.cgroup) { ProcessTree.kill(pid) }
      _ = clinux_pidfd_send_signal(pidfd, SIGKILL)
    }
    if cgroup.isApart(from: task.cgroup) { shim.sweep(cgroup) }
  }

  private func finish() {
    answer()
    shim.loop.cancel(&timer)
    shim.loop.cancel(&drainTimer)
    status?.close()
    status = nil
    for stream in streams { stream.close() }
    streams = []
    shim.execs.removeAll { $0 === self }
    shim.checkStopped()
  }

  private func answer() {
    guard !answered else { return discard() }
    answered = true
    if failure != nil || callTimedOut { discard() }
    if let failure { return call.fail(Refusal(failure, of: "container \(task.id): exec")) }
    if callTimedOut {
      return call.fail(Refusal(.deadlineExceeded, "container \(task.id): exec: not done within the time given"))
    }
    if isSession { return answerSession() }
    let result = ExecResult(exitCode: timedOut ? 137 : exitCode ?? 137, timedOut: timedOut, truncated: truncated)
    let shim = shim
    call.succeed(result, output: output.take(), errors: errors.take()) { shim.execBytes -= $0 }
  }

  private func answerSession() {
    var response = Swiftlet__Shim__V1__ExecResponse()
    swiftlet__shim__v1__exec_response__init(&response)
    response.exit_code = exitCode ?? 137
    call.succeed(&response)
  }

  private func discard() {
    shim.execBytes -= output.count + errors.count
    output = ByteBlock()
    errors = ByteBlock()
  }
}
