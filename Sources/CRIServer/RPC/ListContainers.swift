import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// From memory; pause is not a container and is not listed, exited ones are.
  func listContainers(
    request: Runtime_V1_ListContainersRequest, context: ServerContext
  ) async throws -> Runtime_V1_ListContainersResponse {
    var response = Runtime_V1_ListContainersResponse()
    response.containers =
      daemon.containers.all.filter { !$0.isRemoved && Self.matches($0, request.filter) }.map(\.summary)
    return response
  }

  private static func matches(_ container: Container, _ filter: Runtime_V1_ContainerFilter) -> Bool {
    (filter.id.isEmpty || container.id.value.hasPrefix(filter.id))
      && (filter.podSandboxID.isEmpty || container.sandboxID.value.hasPrefix(filter.podSandboxID))
      && (!filter.hasState || container.record.criState == filter.state.state)
      && filter.labelSelector.isSatisfied(by: container.config.labels)
  }
}

extension ContainerRecord {
  var criState: Runtime_V1_ContainerState {
    switch state {
    case .created: .containerCreated
    case .running: .containerRunning
    case .exited: .containerExited
    }
  }
}

extension Container {
  fileprivate var summary: Runtime_V1_Container {
    let record = record
    var summary = Runtime_V1_Container()
    summary.id = id.value
    summary.podSandboxID = sandboxID.value
    summary.metadata = config.metadata
    summary.image = config.image
    summary.imageRef = record.imageReference
    summary.imageID = record.imageID
    summary.state = record.criState
    summary.createdAt = record.createdAt
    summary.labels = config.labels
    summary.annotations = config.annotations
    return summary
  }
}
