import ImageStore
import LinuxSystem
import RuntimeModel
import Store

/// Takes a container away, whatever state it is in. A second removal waits for the first and finds nothing to do.
struct ContainerRemoval: Sendable {
  let daemon: Daemon
  let container: Container

  func run() async throws {
    // From here on nothing starts it; a start that came first is ended.
    container.beginRemoval()
    defer { container.endRemoval() }
    try await ContainerStop(daemon: daemon, container: container).run(grace: .zero)
    try await daemon.pass(.discardLayer)
    try await container.lane.run {
      guard !container.isRemoved else { return }
      // Not only of one that ran until now: whoever is still in there is nobody's once the record is gone.
      try await daemon.endCgroup(of: container)
      try await daemon.settleRemoval(container: container.id)
      container.markRemoved()
      daemon.containers.remove(id: container.id, name: container.record.metadata.key(in: container.sandboxID))
    }
    try await daemon.pass(.discardAnswer)
  }
}
