import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol
import SystemPackage

/// Ends a running container, harder with each step: the stop signal to its first process, SIGKILL to that and to the
/// whole cgroup, and last the end of a shim that does not tell the exit. The signals go from here by pidfd and cgroup,
/// so that no shim can delay them.
struct ContainerStop: Sendable {
  let daemon: Daemon
  let container: Container

  /// From SIGKILL until the shim must have told the exit, its wait for the last output included.
  private static let patience = Duration.seconds(3)
  /// How long a shim that works may take for an answer; on a loaded node, and before its whole pod is ended.
  private static let shimPatience = Duration.seconds(5)

  /// - Parameter grace: between the stop signal and SIGKILL; zero kills at once.
  /// - Throws: `deadlineExceeded` naming the processes that SIGKILL does not end.
  func run(grace: Duration) async throws {
    // A start that is under way ends first: either there is a process then, or there will be none.
    await container.lane.run {}
    guard container.record.state == .running else { return }
    if grace > .zero {
      if container.beginStop() {
        try await daemon.pass(.endSignal)
        try await signal(container.record.stopSignal)
      }
      if await container.exited.wait(timeout: grace) { return }
    }
    try await daemon.pass(.endKill)
    try await signal(StopSignal.kill)
    try await killCgroup()
    if await container.exited.wait(timeout: Self.patience) { return }
    try await escalate()
  }

  /// To the first process alone. One that has ended is on its way to the record.
  private func signal(_ number: UInt32) async throws {
    guard let process = container.record.process else { return }
    try await daemon.threads.run { [container] in
      if number == StopSignal.kill { container.noteKill() }
      do throws(SystemCallError) {
        try Pidfd.open(process)?.send(signal: Int32(number))
      } catch {
        guard error.errno == .noSuchProcess else { throw error }
      }
    }
  }

  /// Everything that the container has started, its execs among it, in whatever PID namespace that is.
  private func killCgroup() async throws {
    guard let path = daemon.cgroupPath(of: container) else { return }
    try await daemon.reapers.run { [cgroups = daemon.cgroups] in try cgroups.cgroup(at: path).kill() }
  }

  /// SIGKILL has changed nothing: a process cannot die, or the shim does not tell. Only the latter is helped by more.
  private func escalate() async throws {
    if let sandbox = daemon.sandboxes[container.sandboxID], let shim = sandbox.shim {
      let loss = ShimLoss(daemon: daemon, sandbox: sandbox, shim: shim)
      if await !loss.answers(within: Self.shimPatience) {
        daemon.logger.error(
          "a shim does not answer and is killed with its pod", metadata: ["sandbox": "\(sandbox.id)"])
        try await loss.settle(because: "the shim did not answer for \(Self.shimPatience.components.seconds) s")
      }
    }
    guard await container.exited.wait(timeout: Self.patience) else {
      throw RuntimeError(.deadlineExceeded, "\(container.subject) does not end after SIGKILL: \(await survivors())")
    }
  }

  private func survivors() async -> String {
    guard let path = daemon.cgroupPath(of: container) else { return "its sandbox is gone" }
    let found = try? await daemon.threads.run { [cgroups = daemon.cgroups] in
      try cgroups.cgroup(at: path).processes().prefix(3).map { ProcessState(pid: $0).description }
    }
    guard let found, !found.isEmpty else { return "none of its processes is left, but its end was not told" }
    return found.joined(separator: ", ")
  }
}

extension Container {
  /// To be called right before its first process is killed. What its cgroup has counted of kills for want of memory was
  /// a child or a command then, and is not why the container ends (FAULTS F30). Blocks its thread for a moment.
  func noteKill() {
    guard let process = record.process else { return }
    let isAlive = (try? Pidfd.open(process)?.hasExited() == false) ?? false
    if isAlive { markKilled() }
  }
}
