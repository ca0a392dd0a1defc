import CRIProtocol
import GRPCCore
import ImageStore
import Logging
import RuntimeModel

extension ImageService {
  /// Brings an image onto the node; answers with its id, the same string as in every other RPC. Cancelled when the caller
  /// leaves, unless somebody else waits for the same image.
  func pullImage(
    request: Runtime_V1_PullImageRequest, context: ServerContext
  ) async throws -> Runtime_V1_PullImageResponse {
    let name = try request.image.name()
    let credentials = request.hasAuth ? RegistryCredentials(request.auth) : nil
    let daemon = daemon
    let start = ContinuousClock.now
    let pull = Task { try await daemon.images.pull(name, credentials: credentials) }
    let image = try await withRPCCancellationHandler {
      do {
        return try await pull.value
      } catch is CancellationError {
        throw RuntimeError(.deadlineExceeded, "pull of \(name) was given up by the caller")
      }
    } onCancelRPC: {
      pull.cancel()
    }
    daemon.logger.info(
      "image is pulled",
      metadata: ["image": "\(name)", "id": "\(image.id)", "duration": "\(ContinuousClock.now - start)"])
    var response = Runtime_V1_PullImageResponse()
    response.imageRef = image.id
    return response
  }

  /// Drops the image with all its names, whichever of them is given. Absent: success. Containers keep what they use.
  func removeImage(
    request: Runtime_V1_RemoveImageRequest, context: ServerContext
  ) async throws -> Runtime_V1_RemoveImageResponse {
    try await daemon.images.remove(try request.image.name())
    return Runtime_V1_RemoveImageResponse()
  }
}

extension RegistryCredentials {
  fileprivate init(_ auth: Runtime_V1_AuthConfig) {
    self.init(
      username: auth.username, password: auth.password, auth: auth.auth, serverAddress: auth.serverAddress,
      identityToken: auth.identityToken, registryToken: auth.registryToken)
  }
}
