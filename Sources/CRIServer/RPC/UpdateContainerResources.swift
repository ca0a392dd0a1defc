import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// Changes the limits that are given, all or none; zero and empty leave a field as it is. A created container has them
  /// from its start. Annotations change nothing, as with the peers.
  func updateContainerResources(
    request: Runtime_V1_UpdateContainerResourcesRequest, context: ServerContext
  ) async throws -> Runtime_V1_UpdateContainerResourcesResponse {
    let container = try daemon.presentContainer(request.containerID)
    guard !request.hasWindows else {
      throw RuntimeError(.invalidArgument, "windows: this node runs Linux")
    }
    let update = ContainerUpdate(daemon: daemon, container: container)
    // Goes on when the caller leaves: a half of it is never in force.
    try await Task { try await container.lane.run { try await update.run(request.linux) } }.value
    return Runtime_V1_UpdateContainerResourcesResponse()
  }
}
