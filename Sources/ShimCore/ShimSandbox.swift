import CLinux
import CShimMessages

/// StartSandbox, until it has been answered.
final class PauseStart {
  let call: Call
  let warnings: [String]
  let status: StatusPipe
  var failure: StepFailure?

  init(call: Call, warnings: [String], status: StatusPipe) {
    self.call = call
    self.warnings = warnings
    self.status = status
  }
}

extension Shim {
  func startSandbox(
    _ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__StartSandboxRequest>
  ) throws(Refusal) {
    var network = call.connection.takeDescriptor()
    defer { closeAndForget(&network) }
    if stopping { throw Refusal(.failedPrecondition, "sandbox \(id): is being stopped") }
    guard case .none = sandbox else { throw Refusal(.failedPrecondition, "sandbox \(id): already started") }
    guard isSet(request.pointee.sandbox_id) else { throw Refusal(.invalidArgument, "sandbox_id: is empty") }
    guard isSet(request.pointee.pause_path) else { throw Refusal(.invalidArgument, "pause_path: is empty") }
    guard let namespaces = request.pointee.namespaces else { throw Refusal(.invalidArgument, "namespaces: is missing") }
    guard network >= 0 || namespaces.pointee.network == NamespaceMode.node else {
      throw Refusal(.invalidArgument, "namespaces.network: no descriptor came with the request")
    }
    let users = try podUsers(request, descriptor: &network)
    var warnings: [String] = []
    let (outcome, made) = clonePause(request, networkNamespace: network, users: users, warnings: &warnings)
    pod = made
    if let failure = outcome.failure {
      pod.pausePid = 0
      closeUsers()
      throw Refusal(failure, of: "sandbox \(id)")
    }
    pod.pausePid = outcome.pid
    pod.pausePidfd = outcome.pidfd
    sandboxID = text(request.pointee.sandbox_id)
    let status = StatusPipe(outcome.status, loop: loop) { self.pauseStarted($0) }
    sandbox = .starting(PauseStart(call: call, warnings: warnings, status: status))
  }

  /// The user namespace that was asked for: the owner of the network namespace that came, or with the node's network
  /// what came itself, which is no network namespace then.
  private func podUsers(
    _ request: UnsafePointer<Swiftlet__Shim__V1__StartSandboxRequest>, descriptor: inout Int32
  ) throws(Refusal) -> PodUsers? {
    guard let asked = request.pointee.users else { return nil }
    guard descriptor >= 0 else { throw Refusal(.invalidArgument, "users: no descriptor came with the request") }
    var users = descriptor
    if request.pointee.namespaces.pointee.network == NamespaceMode.node {
      descriptor = -1
    } else {
      users = clinux_namespace_owner(descriptor)
      guard users >= 0 else {
        throw Refusal(
          StepFailure(step: "find user namespace", errno: -users, subject: ""), of: "sandbox \(id)")
      }
    }
    return PodUsers(descriptor: users, uid: asked.pointee.uid, gid: asked.pointee.gid)
  }

  private func closeUsers() {
    if let users = pod.users { _ = close(users.descriptor) }
    pod.users = nil
  }

  private func pauseStarted(_ report: [UInt8]) {
    guard case .starting(let start) = sandbox else { return }
    guard report.isEmpty else {
      start.failure = readStepFailure(report) ?? StepFailure(step: "start pause", errno: EIO, subject: "")
      return
    }
    // Gone already: pauseEnded is asking.
    if pod.pausePid == 0 {
      start.failure = StepFailure(step: "start pause: it ended at once", errno: ESRCH, subject: "")
      return
    }
    sandbox = .running
    pauseStartTime = processStartTime(pod.pausePid)
    var response = Swiftlet__Shim__V1__StartSandboxResponse()
    swiftlet__shim__v1__start_sandbox_response__init(&response)
    response.pause_pid = pod.pausePid
    response.shim_pid = getpid()
    response.pause_start_time = pauseStartTime
    withCStrings(start.warnings) { warnings, count in
      response.warnings = warnings
      response.n_warnings = count
      start.call.succeed(&response)
    }
  }

  /// Pause never ran and is reaped: StartSandbox may be tried again.
  func sandboxFailed(_ start: PauseStart) {
    start.status.close()
    sandbox = .none
    closeAndForget(&pod.shmMount)
    closeUsers()
    let failure = start.failure ?? StepFailure(step: "start pause", errno: ESRCH, subject: "")
    start.call.fail(Refusal(failure, of: "sandbox \(id)"))
    checkStopped()
  }

  // MARK: - stopping

  func stopSandbox(_ call: Call) {
    stopping = true
    stopCalls.append(call)
    for exec in execs { exec.killAll() }
    for task in tasks {
      if task.pidfd >= 0, task.pid > 0 { _ = clinux_pidfd_send_signal(task.pidfd, SIGKILL) }
      sweep(task.cgroup)
    }
    if pod.pausePid > 0 { _ = clinux_pidfd_send_signal(pod.pausePidfd, SIGKILL) }
    checkStopped()
  }

  /// Answers StopSandbox once nothing is left.
  func checkStopped() {
    guard isEmpty else { return }
    let calls = stopCalls
    stopCalls = []
    for call in calls {
      var response = Swiftlet__Shim__V1__StopSandboxResponse()
      swiftlet__shim__v1__stop_sandbox_response__init(&response)
      call.succeed(&response)
    }
    scheduleLeave()
  }

  func shutdown(_ call: Call) throws(Refusal) {
    guard isEmpty else { throw Refusal(.failedPrecondition, "sandbox \(id): has not been stopped") }
    var response = Swiftlet__Shim__V1__ShutdownResponse()
    swiftlet__shim__v1__shutdown_response__init(&response)
    call.succeed(&response)
    leave()
  }

  // MARK: - state

  func state(_ call: Call) {
    var response = Swiftlet__Shim__V1__StateResponse()
    swiftlet__shim__v1__state_response__init(&response)
    let name = strdup(sandboxID)
    defer { free(name) }
    response.sandbox_id = name
    if case .running = sandbox {
      response.pause_pid = pod.pausePid
      response.pause_start_time = pauseStartTime
    }
    let messages = UnsafeMutablePointer<Swiftlet__Shim__V1__Task>.allocate(capacity: max(1, tasks.count))
    var pointers: [UnsafeMutablePointer<Swiftlet__Shim__V1__Task>?] = []
    for (index, task) in tasks.enumerated() {
      swiftlet__shim__v1__task__init(messages + index)
      messages[index].container_id = strdup(task.id)
      messages[index].pid = task.pid
      messages[index].started_at = task.startedAt
      pointers.append(messages + index)
    }
    pointers.withUnsafeMutableBufferPointer { tasks in
      response.tasks = tasks.baseAddress
      response.n_tasks = tasks.count
      withExits { exits, count in
        response.exits = exits
        response.n_exits = count
        call.succeed(&response)
      }
    }
    for index in tasks.indices { free(messages[index].container_id) }
    messages.deallocate()
  }
}

/// Field 22 of /proc/PID/stat: clock ticks after boot. 0 when it cannot be read.
private func processStartTime(_ pid: Int32) -> UInt64 {
  // The command in the second field may hold anything; the fields go on after its last bracket.
  guard let content = readSmallFile("/proc/\(pid)/stat"), let bracket = content.lastIndex(of: 0x29) else { return 0 }
  let fields = content[(bracket + 1)...].split(separator: 0x20)
  return fields.count > 19 ? decimals(fields[19]).first ?? 0 : 0
}

/// Strings as C has them, during the call.
func withCStrings(
  _ strings: [String], _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, Int) -> Void
) {
  var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  pointers.withUnsafeMutableBufferPointer { body($0.baseAddress, $0.count) }
  for pointer in pointers { free(pointer) }
}
