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
    let reason = exit.oomKilled ? "OOMKilled" : exit.exitCode == 0 ? "Completed" : "Error"
    try await finish(at: exit.finishedAt, code: exit.exitCode, reason: reason, message: "")
  }

  /// The process is gone and nobody knows how it ended (CRI.md 3.2).
  func recordLost() async throws {
    guard container.record.state == .running || container.record.isStarting else { return }
    try await finish(
      at: WallClock.now(), code: 255, reason: "Unknown", message: "the shim that watched the container is gone")
  }

  /// The container never ran its program.
  func recordStartFailure(_ message: String) async throws {
    try await daemon.save(container) { record in
      record.isStarting = false
      record.finishedAt = WallClock.now()
      record.exitCode = 128
      record.reason = "StartError"
      record.message = message
    }
    container.exited.open()
  }

  private func finish(at time: Int64, code: Int32, reason: String, message: String) async throws {
    try await container.lane.run {
      guard container.record.finishedAt == 0 else { return }
      try await daemon.save(container) { record in
        if record.startedAt == 0 { record.startedAt = record.createdAt }
        record.isStarting = false
        record.finishedAt = max(time, record.startedAt)
        record.exitCode = code
        record.reason = reason
        record.message = message
        record.process = nil
      }
      container.exited.open()
      await daemon.removeCgroup(of: container)
    }
    daemon.logger.info(
      "container has ended",
      metadata: ["container": "\(container.id)", "exit": "\(code)", "reason": "\(reason)"])
  }
}

extension Daemon {
  /// The container's cgroup, where its sandbox's record says.
  func cgroupPath(of container: Container) -> String? {
    sandboxes[container.sandboxID].map { "\($0.record.cgroupParent)/\(container.id)" }
  }

  /// A cgroup that does not go is tried again when its sandbox stops.
  func removeCgroup(of container: Container) async {
    guard let path = cgroupPath(of: container) else { return }
    do {
      try await threads.run { [cgroups] in try cgroups.cgroup(at: path).remove(deadline: .seconds(1)) }
    } catch {
      logger.warning(
        "a container's cgroup is still there", metadata: ["container": "\(container.id)", "error": "\(error)"])
    }
  }
}
