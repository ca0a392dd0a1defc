import CLinux
import CShimMessages

extension Shim: Watcher {
  /// SIGCHLD: reaps everything that has ended. Orphans come here too, since this process is their subreaper.
  func ready() {
    var signal = signalfd_siginfo()
    while read(signals, &signal, MemoryLayout<signalfd_siginfo>.size) > 0 {}
    var code: Int32 = 0
    var status: Int32 = 0
    while true {
      let pid = clinux_wait_any(&code, &status)
      if pid == -EINTR { continue }
      if pid <= 0 { break }
      childEnded(pid, code: code, status: status)
    }
  }

  private func childEnded(_ pid: Int32, code: Int32, status: Int32) {
    if pid == pod.pausePid { return pauseEnded(code: code, status: status) }
    for task in tasks where task.pid == pid { return taskEnded(task, code: code, status: status) }
    for exec in execs where exec.pid == pid {
      exec.ended(code: code, status: status)
      return
    }
  }

  /// Longest that output may come after the container's first process was reaped and the rest of its group was told to
  /// end: somebody else may hold the pipe.
  private static let drainTime: Int64 = 1_000_000_000

  private func taskEnded(_ task: ShimTask, code: Int32, status: Int32) {
    // The start's result is in the pipe by now, if it was not read before.
    task.starting?.status.ready()
    task.pid = -1
    if let starting = task.starting {
      abandon(task, starting)
      return
    }
    task.ended(code: code, status: status)
    killRest(of: task)
    task.onDrained = { self.publish(task) }
    task.drain()
    if task.ending == nil { return }
    if task.isDrained { return publish(task) }
    task.drainTimer = loop.after(Shim.drainTime) {
      task.drainTimer = 0
      self.publish(task)
    }
  }

  /// What the container leaves behind where its first process is not its PID namespace's first.
  private func killRest(of task: ShimTask) {
    for exec in execs where exec.task === task { exec.killAll() }
    if !task.ownsPidNamespace { sweep(task.cgroup) }
  }

  /// Kills a cgroup's processes, again and again if the kernel has no call for it, for at most a second.
  func sweep(_ cgroup: CgroupPaths, rounds: Int = 100) {
    guard !cgroup.kill(), rounds > 0 else { return }
    _ = loop.after(10_000_000) { self.sweep(cgroup, rounds: rounds - 1) }
  }

  private func publish(_ task: ShimTask) {
    guard let ending = task.ending else { return }
    task.ending = nil
    loop.cancel(&task.drainTimer)
    let lost = task.closeOutput()
    if lost > 0 { trouble.write("container \(task.id): \(lost) bytes of log lost") }
    tasks.removeAll { $0 === task }
    record(
      ExitRecord(
        sequence: lastSequence + 1, containerID: task.id, exitCode: ending.exitCode, outOfMemory: ending.outOfMemory,
        finishedAt: ending.finishedAt, startedAt: task.startedAt, lostBytes: lost))
  }

  private func pauseEnded(code: Int32, status: Int32) {
    pod.pausePid = 0
    if case .starting(let start) = sandbox {
      start.status.ready()
    }
    closeAndForget(&pod.pausePidfd)
    let wasRunning = if case .running = sandbox { true } else { false }
    if case .starting(let start) = sandbox {
      sandboxFailed(start)
      return
    }
    sandbox = .ended
    guard wasRunning else { return }
    record(
      ExitRecord(
        sequence: lastSequence + 1, containerID: "", exitCode: code == CLD_EXITED ? status & 0xff : 128 + status,
        outOfMemory: false, finishedAt: wallClock()))
  }

  private func record(_ exit: ExitRecord) {
    lastSequence = exit.sequence
    exits.append(exit)
    if let call = waiter {
      forgetWaiter()
      answer(call)
    }
    checkStopped()
  }

  // MARK: - WaitExits

  func waitExits(_ call: Call, _ request: UnsafePointer<Swiftlet__Shim__V1__WaitExitsRequest>) throws(Refusal) {
    let acknowledged = request.pointee.acknowledged
    guard acknowledged <= lastSequence else {
      throw Refusal(.invalidArgument, "acknowledged: \(acknowledged) is later than the last exit, \(lastSequence)")
    }
    dismissWaiter()
    exits.removeAll { $0.sequence <= acknowledged }
    if exits.isEmpty {
      waiter = call
      if call.timeout > 0 {
        waiterTimer = loop.after(call.timeout) {
          self.waiterTimer = 0
          self.waiter = nil
          call.fail(Refusal(.deadlineExceeded, "no exit within the time given"))
        }
      }
    } else {
      answer(call)
    }
    scheduleLeave()
  }

  /// A newer caller, or the end: the older gets an answer with no exits.
  func dismissWaiter() {
    guard let call = waiter else { return }
    forgetWaiter()
    var response = Swiftlet__Shim__V1__WaitExitsResponse()
    swiftlet__shim__v1__wait_exits_response__init(&response)
    call.succeed(&response)
  }

  func forgetWaiter() {
    waiter = nil
    loop.cancel(&waiterTimer)
  }

  private func answer(_ call: Call) {
    withExits { exits, count in
      var response = Swiftlet__Shim__V1__WaitExitsResponse()
      swiftlet__shim__v1__wait_exits_response__init(&response)
      response.exits = exits
      response.n_exits = count
      call.succeed(&response)
    }
  }

  /// The exits as the messages that WaitExits and State answer with.
  func withExits(_ body: (UnsafeMutablePointer<UnsafeMutablePointer<Swiftlet__Shim__V1__Exit>?>?, Int) -> Void) {
    let messages = UnsafeMutablePointer<Swiftlet__Shim__V1__Exit>.allocate(capacity: max(1, exits.count))
    var pointers: [UnsafeMutablePointer<Swiftlet__Shim__V1__Exit>?] = []
    for (index, exit) in exits.enumerated() {
      swiftlet__shim__v1__exit__init(messages + index)
      messages[index].sequence = exit.sequence
      messages[index].container_id = strdup(exit.containerID)
      messages[index].exit_code = exit.exitCode
      messages[index].oom_killed = exit.outOfMemory ? 1 : 0
      messages[index].finished_at = exit.finishedAt
      messages[index].started_at = exit.startedAt
      messages[index].log_lost_bytes = exit.lostBytes
      pointers.append(messages + index)
    }
    pointers.withUnsafeMutableBufferPointer { body($0.baseAddress, $0.count) }
    for index in exits.indices { free(messages[index].container_id) }
    messages.deallocate()
  }
}
