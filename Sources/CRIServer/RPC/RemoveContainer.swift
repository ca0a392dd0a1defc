import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// Kills the container if it runs, then removes its writable layer and its record, not its log: that is kubelet's.
  /// Idempotent; an unknown container is success.
  func removeContainer(
    request: Runtime_V1_RemoveContainerRequest, context: ServerContext
  ) async throws -> Runtime_V1_RemoveContainerResponse {
    if let container = try daemon.containers.find(request.containerID, field: "container_id") {
      let removal = ContainerRemoval(daemon: daemon, container: container)
      try await Task { try await removal.run() }.value
    }
    return Runtime_V1_RemoveContainerResponse()
  }
}
