import CRIProtocol
import GRPCCore

extension RuntimeService {
  /// Four strings, none empty. `version` is kubelet's runtime API version, and kubelet refuses every value but 0.1.0.
  func version(
    request: Runtime_V1_VersionRequest, context: ServerContext
  ) async throws -> Runtime_V1_VersionResponse {
    var response = Runtime_V1_VersionResponse()
    response.version = "0.1.0"
    response.runtimeName = Daemon.name
    response.runtimeVersion = Daemon.version
    response.runtimeApiVersion = "v1"
    return response
  }
}

extension Daemon {
  /// Becomes the scheme of kubelet's container ids.
  package static let name = "swiftlet"
  /// Semantic version of this build.
  package static let version = "0.1.0"
}
