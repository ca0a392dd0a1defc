import CRIProtocol
import GRPCCore
import RuntimeModel

extension RuntimeService {
  /// From memory. NotFound for an unknown id: kubelet skips the object then.
  func podSandboxStatus(
    request: Runtime_V1_PodSandboxStatusRequest, context: ServerContext
  ) async throws -> Runtime_V1_PodSandboxStatusResponse {
    let sandbox = try daemon.listedSandbox(request.podSandboxID)
    var response = Runtime_V1_PodSandboxStatusResponse()
    response.status = sandbox.status
    if request.verbose { response.info["info"] = try sandbox.details() }
    return response
  }
}

extension Daemon {
  /// - Throws: `notFound`, also for a sandbox that is still being created.
  func listedSandbox(_ text: String) throws(RuntimeError) -> Sandbox {
    let sandbox = try sandboxes.get(text, field: "pod_sandbox_id")
    guard sandbox.isListed else { throw RuntimeError(.notFound, "pod_sandbox_id: no sandbox \"\(text)\"") }
    return sandbox
  }
}

extension Sandbox {
  /// What clients see of the sandbox. The namespace options come back as asked: kubelet makes a new sandbox when they
  /// differ from the pod's.
  var status: Runtime_V1_PodSandboxStatus {
    let record = record
    var status = Runtime_V1_PodSandboxStatus()
    status.id = id.value
    status.metadata = config.metadata
    status.state = criState
    status.createdAt = record.createdAt
    status.network = Runtime_V1_PodSandboxNetworkStatus()
    if record.state == .ready {
      status.network.ip = record.addresses.first ?? ""
      status.network.additionalIps = record.addresses.dropFirst().map { address in
        var ip = Runtime_V1_PodIP()
        ip.ip = address
        return ip
      }
    }
    status.linux.namespaces.options = config.linux.securityContext.namespaceOptions
    status.labels = config.labels
    status.annotations = config.annotations
    status.runtimeHandler = record.runtimeHandler
    return status
  }

  /// What `crictl inspectp` shows beside the status.
  fileprivate func details() throws -> String {
    struct Details: Encodable {
      var pid: Int32
      var shimPid: Int32
      var hostInterface: String?
      var mac: String?
      var cgroupParent: String
      /// As the client said them, last by UpdatePodSandboxResources.
      var overhead: ShownResources?
      var resources: ShownResources?
      /// Why it is not ready although nobody stopped it.
      var reason: String?
    }
    let record = record
    let (overhead, resources) = shownResources
    let details = Details(
      pid: record.pause?.pid ?? 0, shimPid: record.shim?.pid ?? 0, hostInterface: record.lease?.hostInterface,
      mac: record.lease?.mac, cgroupParent: record.cgroupParent, overhead: overhead, resources: resources,
      reason: notReadyReason.isEmpty ? nil : notReadyReason)
    return try verboseText(details)
  }
}
