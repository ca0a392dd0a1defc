import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// Kubelet's word about the node's pod blocks. An empty one says nothing; CNI plugins have blocks of their own.
  ///
  /// - Throws: `failedPrecondition` while sandboxes have addresses outside the new blocks.
  func updateRuntimeConfig(
    request: Runtime_V1_UpdateRuntimeConfigRequest, context: ServerContext
  ) async throws -> Runtime_V1_UpdateRuntimeConfigResponse {
    let blocks = request.runtimeConfig.networkConfig.podCidr
    if !blocks.isEmpty, let network = daemon.nodeNetwork {
      try await Task { try await network.setPodBlocks(blocks) }.value
    }
    return Runtime_V1_UpdateRuntimeConfigResponse()
  }
}
