import CRIProtocol
import GRPCCore
import PodNetwork
import RuntimeModel

extension RuntimeService {
  /// The two conditions that every client wants, the handlers with their features, and with `verbose` the configuration.
  ///
  /// Memory and the network module's last look at the kernel; never a call to a shim.
  func status(
    request: Runtime_V1_StatusRequest, context: ServerContext
  ) async throws -> Runtime_V1_StatusResponse {
    var response = Runtime_V1_StatusResponse()
    response.status.conditions = [Self.condition("RuntimeReady", nil), await networkCondition()]
    if let trouble = daemon.nodeNetwork?.registryTrouble { response.status.conditions.append(Self.registry(trouble)) }
    let can = daemon.userNamespaces
    response.runtimeHandlers = ["", Daemon.name].map { name in
      var handler = Runtime_V1_RuntimeHandler()
      handler.name = name
      handler.features.recursiveReadOnlyMounts = can.hasRecursiveReadonly
      handler.features.userNamespaces = can.obstacle == nil
      return handler
    }
    response.features.supplementalGroupsPolicy = true
    response.features.mountOptions = true
    response.features.userNamespacesHostNetwork = can.obstacle == nil
    if request.verbose { response.info["config"] = try daemon.configurationDescription() }
    return response
  }

  /// Not ready, too, while no address can be recorded. RuntimeReady stays: without that kubelet leaves all pods as they
  /// are (its syncLoop waits), and could not end one; without the network it makes none, and the node is not ready.
  private func networkCondition() async -> Runtime_V1_RuntimeCondition {
    if let trouble = daemon.unwritten.trouble { return Self.condition("NetworkReady", ("RecordsNotWritable", trouble)) }
    return switch await daemon.network.readiness() {
    case .ready: Self.condition("NetworkReady", nil)
    case .notReady(let reason, let message): Self.condition("NetworkReady", (reason, message))
    }
  }

  /// True while what is known of other nodes may be old. No reason not to run pods: what is known is used.
  private static func registry(_ trouble: String?) -> Runtime_V1_RuntimeCondition {
    var condition = Runtime_V1_RuntimeCondition()
    condition.type = "RegistryStale"
    condition.status = trouble != nil
    condition.reason = trouble == nil ? "" : "NodeRegistryTrouble"
    condition.message = trouble ?? ""
    return condition
  }

  private static func condition(
    _ type: String, _ failure: (reason: String, message: String)?
  ) -> Runtime_V1_RuntimeCondition {
    var condition = Runtime_V1_RuntimeCondition()
    condition.type = type
    condition.status = failure == nil
    condition.reason = failure?.reason ?? ""
    condition.message = failure?.message ?? ""
    return condition
  }
}

extension Daemon {
  /// What `crictl info` shows; critest reads `stateDir`.
  func configurationDescription() throws -> String {
    struct Description: Encodable {
      var rootDir: String
      var stateDir: String
      var socket: String
      var cgroupParent: String
      var bridge: String
      var podCIDRs: [String]
      var findings: [Finding]
    }
    struct Finding: Encodable {
      var kind: String
      var object: String
      var text: String
    }
    let findings = (try? nodeNetwork?.current)?.findings() ?? []
    let description = Description(
      rootDir: configuration.root, stateDir: configuration.state, socket: configuration.socket,
      cgroupParent: configuration.cgroupParent, bridge: configuration.network.bridge,
      podCIDRs: nodeNetwork?.podBlocks ?? [],
      findings: findings.map { Finding(kind: $0.kind.rawValue, object: $0.object, text: $0.text) })
    return try verboseText(description)
  }
}
