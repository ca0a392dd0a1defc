import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol

/// Writes a container's end down, once, and wakes who waits for it.
struct ContainerExit: Sendable {
  let daemon: Daemon
  let container: Container

  /// Idempotent: the shim repeats what was not acknowledged.
  func record(_ exit: Swiftlet_Shim_V1_Exit) async throws {
    let isOutOfMemory = exit.oomKilled && !container.isKilled
    let reason = isOutOfMemory ? "OOMKilled" : exit.exitCode == 0 ? "Completed" : "Error"
    try await finish(exit, reason: reason, message: "")
  }

  /// The process is gone and nobody knows how it ended (CRI.md 3.2).
  /// - Parameter reason: in prose, for the client.
  func recordLost(because reason: String = "the shim that watched the container is gone") async throws {
    guard container.record.state == .running || container.record.isStarting else { return }
    var exit = Swiftlet_Shim_V1_Exit()
    exit.finishedAt = WallClock.now()
    exit.exitCode = 255
    try await finish(exit, reason: "Unknown", message: reason)
  }

  /// The container never ran its program. In its lane.
  func recordStartFailure(_ message: String) async throws {
    let now = WallClock.now()
    try await daemon.settle(container) { record in
      record.isStarting = false
      record.finishedAt = now
      record.exitCode = 128
      record.reason = "StartError"
      record.message = message
    }
    container.exited.open()
  }

  private func finish(_ exit: Swiftlet_Shim_V1_Exit, reason: String, message: String) async throws {
    try await container.lane.run {
      guard container.record.finishedAt == 0 else { return }
      try await daemon.settle(container, failpoint: .exitRecord) { record in
        if record.startedAt == 0 { record.startedAt = exit.startedAt == 0 ? record.createdAt : exit.startedAt }
        record.isStarting = false
        record.finishedAt = max(exit.finishedAt, record.startedAt)
        record.exitCode = exit.exitCode
        record.reason = reason
        record.message = message
        record.process = nil
        record.logLostBytes = exit.logLostBytes == 0 ? nil : exit.logLostBytes
      }
      container.exited.open()
      await daemon.removeCgroup(of: container)
    }
    daemon.logger.info(
      "container has ended",
      metadata: ["container": "\(container.id)", "exit": "\(exit.exitCode)", "reason": "\(reason)"])
    if exit.logLostBytes > 0 {
      daemon.logger.warning(
        "a container's log is incomplete: its file could not be written",
        metadata: ["container": "\(container.id)", "lost": "\(exit.logLostBytes) bytes"])
    }
  }
}

extension Daemon {
  /// The container's cgroup, where its sandbox's record says.
  func cgroupPath(of container: Container) -> String? {
    sandboxes[container.sandboxID].map { "\($0.record.cgroupParent)/\(container.id)" }
  }

  /// Ends whatever a start has left behind, known to the shim or not, and takes its cgroup away: without that a shim
  /// that comes to the request later cannot carry it out any more.
  func discardProcesses(of container: Container) async {
    do {
      try await endCgroup(of: container, deadline: .seconds(1))
    } catch {
      logger.warning(
        "a failed start's processes may still run", metadata: ["container": "\(container.id)", "error": "\(error)"])
    }
  }

  /// Kills whoever is in the container's cgroup and takes that away. Idempotent.
  /// - Throws: when somebody does not die; a cgroup that is gone is success.
  func endCgroup(of container: Container, deadline: Duration = .seconds(5)) async throws {
    guard let path = cgroupPath(of: container) else { return }
    try await reapers.run { [cgroups] in
      let cgroup = cgroups.cgroup(at: path)
      try cgroup.kill()
      try cgroup.remove(deadline: deadline)
    }
  }

  /// A cgroup that does not go is tried again when its container is removed or its sandbox stops.
  func removeCgroup(of container: Container) async {
    guard let path = cgroupPath(of: container) else { return }
    do {
      try await reapers.run { [cgroups] in try cgroups.cgroup(at: path).remove(deadline: .seconds(1)) }
    } catch {
      logger.warning(
        "a container's cgroup is still there", metadata: ["container": "\(container.id)", "error": "\(error)"])
    }
  }
}
