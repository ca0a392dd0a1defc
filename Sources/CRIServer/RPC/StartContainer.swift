import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// Runs a created container's program; returns once it was exec'd. A program that cannot be run is an error here, and
  /// the container is EXITED with 128 and StartError then.
  func startContainer(
    request: Runtime_V1_StartContainerRequest, context: ServerContext
  ) async throws -> Runtime_V1_StartContainerResponse {
    let container = try daemon.presentContainer(request.containerID)
    let start = ContainerStart(daemon: daemon, container: container, stages: Stages())
    try await Task { try await container.lane.run { try await start.run() } }.value
    return Runtime_V1_StartContainerResponse()
  }
}
