import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol

/// Ends a running container: the stop signal, SIGKILL, and last the whole cgroup.
struct ContainerStop: Sendable {
  let daemon: Daemon
  let container: Container

  /// What a killed process is given to be gone before the next, harder step.
  private static let patience = Duration.seconds(5)

  /// - Parameter grace: between the stop signal and SIGKILL; zero kills at once.
  func run(grace: Duration) async throws {
    // A start that is under way ends first: either there is a process then, or there will be none.
    await container.lane.run {}
    guard container.record.state == .running else { return }
    if grace > .zero {
      if container.beginStop() { try await signal(container.record.stopSignal, all: false) }
      if await container.exited.wait(timeout: grace) { return }
    }
    try await signal(StopSignal.kill, all: true)
    if await container.exited.wait(timeout: Self.patience) { return }
    daemon.logger.warning(
      "a container survives SIGKILL; its cgroup is killed", metadata: ["container": "\(container.id)"])
    if let path = daemon.cgroupPath(of: container) {
      try await daemon.threads.run { [cgroups = daemon.cgroups] in try cgroups.cgroup(at: path).kill() }
    }
    guard await container.exited.wait(timeout: Self.patience) else {
      throw RuntimeError(.deadlineExceeded, "\(container.subject) does not end: its processes ignore SIGKILL")
    }
  }

  private func signal(_ number: UInt32, all: Bool) async throws {
    guard let shim = daemon.sandboxes[container.sandboxID]?.shim else { return }
    var request = Swiftlet_Shim_V1_KillRequest()
    request.containerID = container.id.value
    request.signal = number
    request.all = all
    do throws(ShimCallError) {
      _ = try await shim.kill(request)
    } catch {
      // When it has ended, or its shim has, the exit is on its way to the record.
      guard error.code == .notFound || error.isConnectionLoss else { throw error }
    }
  }
}
