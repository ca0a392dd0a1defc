import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// Sends the stop signal, waits for `timeout` seconds, then kills; returns when the exit is recorded. Idempotent; an
  /// unknown container and one that does not run are success.
  ///
  /// A caller that leaves does not take the kill with it, and each caller keeps its own deadline: the earliest kills.
  func stopContainer(
    request: Runtime_V1_StopContainerRequest, context: ServerContext
  ) async throws -> Runtime_V1_StopContainerResponse {
    if let container = try daemon.containers.find(request.containerID, field: "container_id") {
      let stop = ContainerStop(daemon: daemon, container: container)
      // A year is for ever, and no clock overflows.
      let grace = Duration.seconds(min(max(0, request.timeout), 366 * 86_400))
      try await Task { try await stop.run(grace: grace) }.value
    }
    return Runtime_V1_StopContainerResponse()
  }
}
