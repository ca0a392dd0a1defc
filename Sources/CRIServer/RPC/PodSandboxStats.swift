import CRIProtocol
import GRPCCore
import LinuxSystem
import RuntimeModel

extension RuntimeService {
  /// What one pod uses now, by its own group, its network namespace and its containers.
  func podSandboxStats(
    request: Runtime_V1_PodSandboxStatsRequest, context: ServerContext
  ) async throws -> Runtime_V1_PodSandboxStatsResponse {
    let sandbox = try daemon.listedSandbox(request.podSandboxID)
    guard sandbox.isReady else { throw RuntimeError(.failedPrecondition, "\(sandbox.subject) is not ready") }
    let reader = try await StatsReader(daemon)
    var response = Runtime_V1_PodSandboxStatsResponse()
    response.stats = try await daemon.threads.run { reader.sandbox(sandbox) }
    return response
  }

  /// Of all ready pods that the filter lets through; a stopped one uses nothing.
  func listPodSandboxStats(
    request: Runtime_V1_ListPodSandboxStatsRequest, context: ServerContext
  ) async throws -> Runtime_V1_ListPodSandboxStatsResponse {
    let filter = request.filter
    let chosen = daemon.sandboxes.all.filter { sandbox in
      sandbox.isListed && sandbox.isReady && sandbox.id.value.hasPrefix(filter.id)
        && filter.labelSelector.isSatisfied(by: sandbox.config.labels)
    }
    let reader = try await StatsReader(daemon)
    var response = Runtime_V1_ListPodSandboxStatsResponse()
    response.stats = try await reader.all(chosen) { reader.sandbox($0) }
    return response
  }
}
