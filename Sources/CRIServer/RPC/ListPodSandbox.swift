import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// From memory; an unknown id gives an empty list, never an error.
  func listPodSandbox(
    request: Runtime_V1_ListPodSandboxRequest, context: ServerContext
  ) async throws -> Runtime_V1_ListPodSandboxResponse {
    var response = Runtime_V1_ListPodSandboxResponse()
    response.items = daemon.sandboxes.all.filter { $0.isListed && Self.matches($0, request.filter) }.map(\.summary)
    return response
  }

  private static func matches(_ sandbox: Sandbox, _ filter: Runtime_V1_PodSandboxFilter) -> Bool {
    (filter.id.isEmpty || sandbox.id.value.hasPrefix(filter.id))
      && (!filter.hasState || sandbox.criState == filter.state.state)
      && filter.labelSelector.isSatisfied(by: sandbox.config.labels)
  }
}

extension Sandbox {
  var criState: Runtime_V1_PodSandboxState { isReady ? .sandboxReady : .sandboxNotready }

  fileprivate var summary: Runtime_V1_PodSandbox {
    var summary = Runtime_V1_PodSandbox()
    let record = record
    summary.id = id.value
    summary.metadata = config.metadata
    summary.state = criState
    summary.createdAt = record.createdAt
    summary.labels = config.labels
    summary.annotations = config.annotations
    summary.runtimeHandler = record.runtimeHandler
    return summary
  }
}

extension [String: String] {
  /// A label selector: every key with exactly this value.
  func isSatisfied(by labels: [String: String]) -> Bool { allSatisfy { labels[$0.key] == $0.value } }
}
