import CRIProtocol
import GRPCCore
import RuntimeModel

// RPCs that are not built yet. They say so: clients fall back on Unimplemented, and on nothing else.

private func unbuilt(_ method: String) -> RuntimeError {
  RuntimeError(.unimplemented, "\(method) is not supported by swiftletd yet")
}

extension RuntimeService {
  func checkpointContainer(
    request: Runtime_V1_CheckpointContainerRequest, context: ServerContext
  ) async throws -> Runtime_V1_CheckpointContainerResponse {
    throw unbuilt("CheckpointContainer")
  }

  func checkpointPod(
    request: Runtime_V1_CheckpointPodRequest, context: ServerContext
  ) async throws -> Runtime_V1_CheckpointPodResponse {
    throw unbuilt("CheckpointPod")
  }

  func restorePod(
    request: Runtime_V1_RestorePodRequest, context: ServerContext
  ) async throws -> Runtime_V1_RestorePodResponse {
    throw unbuilt("RestorePod")
  }

  func listMetricDescriptors(
    request: Runtime_V1_ListMetricDescriptorsRequest, context: ServerContext
  ) async throws -> Runtime_V1_ListMetricDescriptorsResponse {
    throw unbuilt("ListMetricDescriptors")
  }

  func listPodSandboxMetrics(
    request: Runtime_V1_ListPodSandboxMetricsRequest, context: ServerContext
  ) async throws -> Runtime_V1_ListPodSandboxMetricsResponse {
    throw unbuilt("ListPodSandboxMetrics")
  }

  func streamPodSandboxes(
    request: Runtime_V1_StreamPodSandboxesRequest, response: RPCWriter<Runtime_V1_StreamPodSandboxesResponse>,
    context: ServerContext
  ) async throws {
    throw unbuilt("StreamPodSandboxes")
  }

  func streamContainers(
    request: Runtime_V1_StreamContainersRequest, response: RPCWriter<Runtime_V1_StreamContainersResponse>,
    context: ServerContext
  ) async throws {
    throw unbuilt("StreamContainers")
  }

  func streamContainerStats(
    request: Runtime_V1_StreamContainerStatsRequest, response: RPCWriter<Runtime_V1_StreamContainerStatsResponse>,
    context: ServerContext
  ) async throws {
    throw unbuilt("StreamContainerStats")
  }

  func streamPodSandboxStats(
    request: Runtime_V1_StreamPodSandboxStatsRequest, response: RPCWriter<Runtime_V1_StreamPodSandboxStatsResponse>,
    context: ServerContext
  ) async throws {
    throw unbuilt("StreamPodSandboxStats")
  }

  func streamPodSandboxMetrics(
    request: Runtime_V1_StreamPodSandboxMetricsRequest, response: RPCWriter<Runtime_V1_StreamPodSandboxMetricsResponse>,
    context: ServerContext
  ) async throws {
    throw unbuilt("StreamPodSandboxMetrics")
  }

  func getContainerEvents(
    request: Runtime_V1_GetEventsRequest, response: RPCWriter<Runtime_V1_ContainerEventResponse>,
    context: ServerContext
  ) async throws {
    throw unbuilt("GetContainerEvents")
  }
}

extension ImageService {
  func streamImages(
    request: Runtime_V1_StreamImagesRequest, response: RPCWriter<Runtime_V1_StreamImagesResponse>,
    context: ServerContext
  ) async throws {
    throw unbuilt("StreamImages")
  }
}
