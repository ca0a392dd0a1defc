import CNI
import CRIProtocol
import LinuxSystem
import PodNetwork
import RuntimeModel

/// Networks made by the plugins of a CNI configuration list.
struct CNIProvider: NetworkProvider {
  let network: CNINetwork
  let journal: AttachJournal

  var nodes: NodeNetwork? { nil }

  /// Plugins choose addresses in ADD.
  func reserveLease(ownNamespace: Bool) throws -> AddressLease? { nil }

  func giveBack(_ lease: AddressLease) {}

  func attach(_ sandbox: Sandbox, _ plan: SandboxPlan, namespace: SharedFD?) async throws -> SandboxNetwork {
    for (name, rate) in [
      (PodTraffic.ingressBandwidth, plan.traffic.ingressRate), (PodTraffic.egressBandwidth, plan.traffic.egressRate),
    ] where rate != nil {
      throw RuntimeError(.unimplemented, "config.annotations[\"\(name)\"]: not passed to CNI plugins yet")
    }
    do {
      let made = try await network.attach(Self.pod(sandbox.id, plan), namespace: namespace)
      journal.attached(made.steps)
      return SandboxNetwork(namespace: made.namespace, addresses: made.result.addresses, steps: made.steps)
    } catch {
      journal.failed(error)
      throw error
    }
  }

  func detach(_ sandbox: Sandbox) async throws {
    guard !sandbox.namespaces.hasHostNetwork else { return }
    try await network.detach(sandbox.id)
  }

  func readiness() async -> NetworkReadiness {
    switch await network.readiness() {
    case .ready: .ready
    case .notReady(let reason, let message): .notReady(reason: reason, message: message)
    }
  }

  func shutdown() async {}

  private static func pod(_ sandbox: Identifier, _ plan: SandboxPlan) -> CNIPod {
    var pod = CNIPod(
      sandbox: sandbox, name: plan.metadata.name, namespace: plan.metadata.namespace, uid: plan.metadata.uid)
    pod.ports = plan.ports.map { port in
      CNIPod.Port(
        hostPort: port.hostPort, containerPort: port.containerPort, transport: port.transport.rawValue,
        hostIP: port.hostIP)
    }
    pod.dnsServers = plan.config.dnsConfig.servers
    pod.dnsSearches = plan.config.dnsConfig.searches
    pod.dnsOptions = plan.config.dnsConfig.options
    return pod
  }

  // MARK: to look at

  /// CHECK runs only where one sandbox is looked at: it runs every plugin.
  func describe(_ response: inout Swiftlet_V1_NetworkResponse, only: Sandbox?, all: [Sandbox]) async throws {
    response.provider = "cni"
    if let list = try? network.describeList() {
      response.list.name = list.name
      response.list.path = list.path
      response.list.cniVersion = list.version
      response.list.plugins = list.plugins
    }
    for sandbox in only.map({ [$0] }) ?? all where !sandbox.namespaces.hasHostNetwork && !sandbox.record.isReleased {
      var attachment = Swiftlet_V1_NetworkAttachment()
      attachment.podSandboxID = sandbox.id.value
      attachment.leaseState = "bound"
      if let result = try? await network.result(of: sandbox.id) {
        attachment.addresses = result.addresses
        attachment.gateway = result.gateway
        attachment.mac = result.mac
        attachment.interface = "eth0"
        attachment.hostInterface = result.hostInterface
        attachment.bridge = result.bridge
      }
      if only != nil, let drift = try await network.check(sandbox.id) { attachment.drift = [drift] }
      response.attachments.append(attachment)
    }
  }
}
