import CLinux
import CShimMessages

extension Shim {
  func execSync(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__ExecSyncRequest>) throws(Refusal) {
    if stopping { throw Refusal(.failedPrecondition, "sandbox \(id): is being stopped") }
    let task = try running(request.pointee.container_id)
    guard let process = request.pointee.process, process.pointee.n_argv > 0 else {
      throw Refusal(.invalidArgument, "container \(task.id): process.argv: is empty")
    }
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
    let outcome = cloneExec(request, stdio: pipes.child, taskPidfd: task.pidfd, pod: pod)
    pipes.closeChildEnds()
    if let failure = outcome.failure { throw Refusal(failure, of: "container \(task.id): exec") }
    execs.append(Exec(call, request, task: task, outcome: outcome, ends: pipes.takeOurs(), shim: self))
  }
}
