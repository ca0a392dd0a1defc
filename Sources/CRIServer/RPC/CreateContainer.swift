import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// Checks everything that can be checked, prepares the writable layer and writes the record; nothing runs yet. A retry
  /// under the same name gets the first attempt's result.
  func createContainer(
    request: Runtime_V1_CreateContainerRequest, context: ServerContext
  ) async throws -> Runtime_V1_CreateContainerResponse {
    let sandbox = try daemon.listedSandbox(request.podSandboxID)
    guard request.hasConfig else { throw RuntimeError(.invalidArgument, "config is missing") }
    guard request.config.hasMetadata, !request.config.metadata.name.isEmpty else {
      throw RuntimeError(.invalidArgument, "config.metadata.name is empty")
    }
    let metadata = ContainerMetadata(
      name: request.config.metadata.name, attempt: request.config.metadata.attempt)
    let key = metadata.key(in: sandbox.id)
    var response = Runtime_V1_CreateContainerResponse()
    if let present = try daemon.presentContainer(key: key, request.config) {
      response.containerID = present.value
      return response
    }
    guard sandbox.isReady else {
      throw RuntimeError(.failedPrecondition, "\(sandbox.subject) is not ready")
    }
    let daemon = daemon
    let subject = "CreateContainer \(metadata.name) attempt \(metadata.attempt) in \(sandbox.subject)"
    let id = try await daemon.containerAttempts.join(
      name: key, subject: subject, request: request, context: context
    ) { stages in
      if let present = try daemon.presentContainer(key: key, request.config) { return present }
      return try await ContainerCreation(daemon: daemon, sandbox: sandbox, stages: stages)
        .run(metadata, request)
    }
    response.containerID = id.value
    return response
  }
}

extension Daemon {
  /// The container that already has the name and is what the request asks for.
  /// - Throws: `alreadyExists` when it is something else.
  fileprivate func presentContainer(
    key: String, _ config: Runtime_V1_ContainerConfig
  ) throws(RuntimeError) -> Identifier? {
    guard let present = containers.named(key), !present.isRemoved else { return nil }
    guard present.config == config else {
      throw RuntimeError(
        .alreadyExists, "config.metadata: \(present.subject) has this name and another configuration")
    }
    return present.id
  }
}
