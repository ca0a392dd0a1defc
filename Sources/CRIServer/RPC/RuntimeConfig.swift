import CRIProtocol
import GRPCCore

extension RuntimeService {
  /// Cgroups are driven through cgroupfs; the enum's zero value would mean systemd, so it is always said.
  func runtimeConfig(
    request: Runtime_V1_RuntimeConfigRequest, context: ServerContext
  ) async throws -> Runtime_V1_RuntimeConfigResponse {
    var response = Runtime_V1_RuntimeConfigResponse()
    response.linux.cgroupDriver = .cgroupfs
    return response
  }
}
