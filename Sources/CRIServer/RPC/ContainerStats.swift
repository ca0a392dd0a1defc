import CRIProtocol
import GRPCCore
import LinuxSystem
import RuntimeModel

extension RuntimeService {
  /// What one container uses now. One that does not run has attributes and writable layer alone.
  func containerStats(
    request: Runtime_V1_ContainerStatsRequest, context: ServerContext
  ) async throws -> Runtime_V1_ContainerStatsResponse {
    let container = try daemon.presentContainer(request.containerID)
    let reader = try await StatsReader(daemon)
    var response = Runtime_V1_ContainerStatsResponse()
    response.stats = try await daemon.threads.run { reader.container(container) }
    return response
  }

  /// Of all containers that the filter lets through, exited ones too, as containerd does; one whose group cannot be
  /// read has no processor time and no memory, and does not fail the others.
  func listContainerStats(
    request: Runtime_V1_ListContainerStatsRequest, context: ServerContext
  ) async throws -> Runtime_V1_ListContainerStatsResponse {
    let filter = request.filter
    let chosen = daemon.containers.all.filter { container in
      !container.isRemoved && container.id.value.hasPrefix(filter.id)
        && container.sandboxID.value.hasPrefix(filter.podSandboxID)
        && filter.labelSelector.isSatisfied(by: container.config.labels)
    }
    let reader = try await StatsReader(daemon)
    var response = Runtime_V1_ListContainerStatsResponse()
    response.stats = try await reader.all(chosen) { reader.container($0) }
    return response
  }
}
