import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// Kubelet's word about the node's pod blocks. An empty one says nothing.
  ///
  /// - Throws: `failedPrecondition` while sandboxes have addresses outside the new blocks.
  func updateRuntimeConfig(
    request: Runtime_V1_UpdateRuntimeConfigRequest, context: ServerContext
  ) async throws -> Runtime_V1_UpdateRuntimeConfigResponse {
    let blocks = request.runtimeConfig.networkConfig.podCidr
    if !blocks.isEmpty { try await Task { try await daemon.nodeNetwork.setPodBlocks(blocks) }.value }
    return Runtime_V1_UpdateRuntimeConfigResponse()
  }
}
