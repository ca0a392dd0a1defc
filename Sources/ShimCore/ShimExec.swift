import CLinux
import CShimMessages

extension Shim {
  func execSync(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__ExecSyncRequest>) throws(Refusal) {
    let (task, process) = try execTarget(request.pointee.container_id, request.pointee.process)
    guard process.pointee.tty == 0 else {
      throw Refusal(.invalidArgument, "container \(task.id): process.tty: not with ExecSync")
    }
    let pipes: Pipes
    do throws(StepFailure) {
      pipes = try Pipes(stdin: false, tty: false)
      try pipes.own(by: process.pointee.user, in: pod.users)
    } catch {
      throw Refusal(error, of: "container \(task.id): exec")
    }
    let outcome = cloneExec(process, request.pointee.cgroup, stdio: pipes.child, in: task, pod: pod)
    pipes.closeChildEnds()
    if let failure = outcome.failure { throw Refusal(failure, of: "container \(task.id): exec") }
    execs.append(Exec(call, request, task: task, outcome: outcome, ends: pipes.takeOurs(), shim: self))
  }

  /// As ExecSync, with the caller's streams, which this process does not even keep.
  func exec(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__ExecRequest>) throws(Refusal) {
    let tty = request.pointee.process.map { $0.pointee.tty != 0 } ?? false
    // The terminal's socket comes in the place of stdin.
    let given = GivenEnds(
      call.connection, input: tty || request.pointee.stdin != 0, output: !tty && request.pointee.stdout != 0,
      error: !tty && request.pointee.stderr != 0)
    let (task, process) = try execTarget(request.pointee.container_id, request.pointee.process)
    guard given.isComplete else {
      throw Refusal(.invalidArgument, "container \(task.id): a descriptor for each stream did not come")
    }
    var stdio = given.ends
    if tty {
      let (width, height) = terminalSize(request.pointee.size)
      stdio = Stdio(input: -1, output: -1, error: -1)
      stdio.terminal = NewTerminal(socket: given.ends.input, width: width, height: height)
    } else {
      do throws(StepFailure) {
        let owner = PipeOwner(process.pointee.user, in: pod.users)
        for end in [stdio.input, stdio.output, stdio.error] where end >= 0 { try owner.take(end, "own stream") }
      } catch {
        throw Refusal(error, of: "container \(task.id): exec")
      }
    }
    // They are the object's until the child has its own.
    let outcome = withExtendedLifetime(given) {
      cloneExec(process, request.pointee.cgroup, stdio: stdio, in: task, pod: pod)
    }
    if let failure = outcome.failure { throw Refusal(failure, of: "container \(task.id): exec") }
    execs.append(Exec(call, request.pointee.cgroup, task: task, outcome: outcome, shim: self))
  }

  private func execTarget(
    _ id: UnsafePointer<CChar>?, _ process: UnsafeMutablePointer<Swiftlet__Shim__V1__Process>?
  ) throws(Refusal) -> (ShimTask, UnsafePointer<Swiftlet__Shim__V1__Process>) {
    if stopping { throw Refusal(.failedPrecondition, "sandbox \(self.id): is being stopped") }
    let task = try running(id)
    guard let process, process.pointee.n_argv > 0 else {
      throw Refusal(.invalidArgument, "container \(task.id): process.argv: is empty")
    }
    return (task, UnsafePointer(process))
  }
}
