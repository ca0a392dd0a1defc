import CLinux
import CShimMessages

extension Shim {
  func start(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>) throws(Refusal) {
    try requireRunningSandbox()
    try validate(request)
    let id = text(request.pointee.container_id)
    let target = try targetPidfd(request.pointee.namespaces)
    let tty = request.pointee.process.pointee.tty != 0
    let task: ShimTask
    let pipes: Pipes
    do throws(StepFailure) {
      task = ShimTask(request, log: try openLog(request))
      pipes = try Pipes(stdin: request.pointee.stdin != 0, tty: tty)
      try pipes.own(by: request.pointee.process.pointee.user, in: pod.users)
    } catch {
      throw Refusal(error, of: "container \(id)")
    }
    var warnings: [String] = []
    let outcome = cloneContainer(
      request, stdio: pipes.child, pod: pod, targetPidfd: target, warnings: &warnings)
    pipes.closeChildEnds()
    if let failure = outcome.failure { throw Refusal(failure, of: "container \(id)") }
    task.pid = outcome.pid
    task.pidfd = outcome.pidfd
    task.follow(pipes, loop: loop, scratch: scratch)
    tasks.append(task)
    let status = StatusPipe(outcome.status, loop: loop) { self.started(task, $0) }
    task.starting = ShimTask.Starting(call: call, status: status, warnings: warnings)
    if call.timeout > 0 {
      task.starting?.timer = loop.after(call.timeout) {
        task.starting?.timer = 0
        task.starting?.failure = StepFailure(
          step: "start: not done within the time given", errno: ETIMEDOUT, subject: "")
        self.signalFirst(of: task, SIGKILL)
      }
    }
  }

  private func openLog(
    _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>
  ) throws(StepFailure) -> LogFile? {
    let place = LogPlace(path: text(request.pointee.log_path), directory: text(request.pointee.log_directory))
    return place.path.utf8.isEmpty ? nil : try LogFile(place, scratch: scratch)
  }

  private func validate(_ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>) throws(Refusal) {
    let id = text(request.pointee.container_id)
    guard !id.utf8.isEmpty else { throw Refusal(.invalidArgument, "container_id: is empty") }
    guard task(request.pointee.container_id) == nil else {
      throw Refusal(.alreadyExists, "container \(id): already running")
    }
    guard let process = request.pointee.process, process.pointee.n_argv > 0 else {
      throw Refusal(.invalidArgument, "container \(id): process.argv: is empty")
    }
    guard request.pointee.rootfs != nil else { throw Refusal(.invalidArgument, "container \(id): rootfs: is missing") }
    guard request.pointee.namespaces != nil else {
      throw Refusal(.invalidArgument, "container \(id): namespaces: is missing")
    }
  }

  /// The process whose PID namespace is joined, or -1.
  private func targetPidfd(
    _ namespaces: UnsafeMutablePointer<Swiftlet__Shim__V1__Namespaces>?
  ) throws(Refusal) -> Int32 {
    guard let namespaces, namespaces.pointee.pid == NamespaceMode.target else { return -1 }
    return try running(namespaces.pointee.target_id).pidfd
  }

  /// The program was exec'd, or not.
  private func started(_ task: ShimTask, _ report: [UInt8]) {
    guard var starting = task.starting else { return }
    if report.isEmpty, starting.failure == nil {
      do throws(StepFailure) {
        try task.takeTerminal(loop: loop, scratch: scratch)
      } catch {
        task.starting?.failure = error
        return signalFirst(of: task, SIGKILL)
      }
      loop.cancel(&starting.timer)
      task.starting = nil
      task.startedAt = wallClock()
      var response = Swiftlet__Shim__V1__StartResponse()
      swiftlet__shim__v1__start_response__init(&response)
      response.pid = task.pid
      response.started_at = task.startedAt
      withCStrings(starting.warnings) { warnings, count in
        response.warnings = warnings
        response.n_warnings = count
        starting.call.succeed(&response)
      }
    } else if starting.failure == nil {
      task.starting?.failure = readStepFailure(report) ?? StepFailure(step: "start", errno: EIO, subject: "")
    }
  }

  /// A container that never ran: its process has been reaped.
  func abandon(_ task: ShimTask, _ starting: ShimTask.Starting) {
    var timer = starting.timer
    loop.cancel(&timer)
    starting.status.close()
    task.starting = nil
    sweep(task.cgroup)
    task.closeOutput()
    tasks.removeAll { $0 === task }
    let failure = starting.failure ?? StepFailure(step: "start", errno: ESRCH, subject: "")
    var refusal = Refusal(failure, of: "container \(task.id)")
    if failure.errno == ETIMEDOUT { refusal.code = .deadlineExceeded }
    starting.call.fail(refusal)
    checkStopped()
  }

  // MARK: - the smaller calls

  /// A container whose program runs.
  func running(_ id: UnsafePointer<CChar>?) throws(Refusal) -> ShimTask {
    guard let task = task(id) else { throw Refusal(.notFound, "container \(text(id)): is not running") }
    guard task.startedAt != 0, task.ending == nil, task.pid > 0 else {
      throw Refusal(.failedPrecondition, "container \(text(id)): is not running")
    }
    return task
  }

  func signalFirst(of task: ShimTask, _ number: Int32) {
    // Not by pid: it may be another's by now.
    if task.pid > 0, task.pidfd >= 0 { _ = clinux_pidfd_send_signal(task.pidfd, number) }
  }

  func kill(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__KillRequest>) throws(Refusal) {
    let number = Int32(clamping: request.pointee.signal)
    guard number > 0, number <= 64 else {
      throw Refusal(.invalidArgument, "signal: \(request.pointee.signal) is not between 1 and 64")
    }
    if let task = task(request.pointee.container_id) {
      if request.pointee.all != 0 {
        if number == SIGKILL { sweep(task.cgroup) } else { task.cgroup.signal(number) }
      }
      if request.pointee.all == 0 || number == SIGKILL || task.cgroup.directories.isEmpty {
        signalFirst(of: task, number)
      }
    } else {
      var known = false
      for exit in exits where exit.containerID.matches(request.pointee.container_id) { known = true }
      guard known else { throw Refusal(.notFound, "container \(text(request.pointee.container_id)): is not here") }
    }
    var response = Swiftlet__Shim__V1__KillResponse()
    swiftlet__shim__v1__kill_response__init(&response)
    call.succeed(&response)
  }

  func reopenLog(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__ReopenLogRequest>) throws(Refusal) {
    let task = try running(request.pointee.container_id)
    do throws(StepFailure) {
      try task.log?.reopen()
    } catch {
      throw Refusal(error, of: "container \(task.id)")
    }
    var response = Swiftlet__Shim__V1__ReopenLogResponse()
    swiftlet__shim__v1__reopen_log_response__init(&response)
    call.succeed(&response)
  }
}
