import CRIProtocol
import GRPCCore
import PodNetwork
import RuntimeModel

extension SwiftletService {
  /// From the kernel, through the provider, and from the daemon's objects; never a call to a shim.
  func network(
    request: Swiftlet_V1_NetworkRequest, context: ServerContext
  ) async throws -> Swiftlet_V1_NetworkResponse {
    let only = request.podSandboxID.isEmpty ? nil : try daemon.listedSandbox(request.podSandboxID)
    var response = Swiftlet_V1_NetworkResponse()
    response.node.name = daemon.configuration.nodeName
    switch await daemon.network.readiness() {
    case .ready: response.ready = true
    case .notReady(let reason, let message): (response.reason, response.message) = (reason, message)
    }
    let listed = daemon.sandboxes.all.filter(\.isListed)
    try await daemon.network.describe(&response, only: only, all: listed)
    let placed = Dictionary(response.attachments.map { ($0.podSandboxID, $0) }, uniquingKeysWith: { $1 })
    let shown = only.map { [$0] } ?? listed
    response.attachments = shown.map { sandbox in
      sandbox.describe(placed[sandbox.id.value], containers: daemon.containers(of: sandbox.id))
    }
    .sorted { ($0.createdAt, $0.podSandboxID) < ($1.createdAt, $1.podSandboxID) }
    response.metrics += daemon.attachJournal.metrics.map(\.message)
    return response
  }
}

extension Sandbox {
  /// What the provider says about the sandbox, and who lives in its namespaces.
  fileprivate func describe(
    _ placed: Swiftlet_V1_NetworkAttachment?, containers: [Container]
  ) -> Swiftlet_V1_NetworkAttachment {
    let record = record
    var attachment = placed ?? Swiftlet_V1_NetworkAttachment()
    attachment.podSandboxID = id.value
    attachment.name = config.metadata.name
    attachment.namespace = config.metadata.namespace
    attachment.ready = isReady
    attachment.createdAt = record.createdAt
    attachment.hostNetwork = namespaces.hasHostNetwork
    if isReady, let pause = record.pause {
      attachment.pausePid = pause.pid
      attachment.namespaceInode = HostFiles.inode("/proc/\(pause.pid)/ns/net") ?? 0
    }
    attachment.steps = attachSteps.map { step in
      var message = Swiftlet_V1_NetworkStep()
      message.name = step.name
      message.nanoseconds = step.duration.wholeNanoseconds
      return message
    }
    attachment.ports = ((try? HostPorts.published(config.portMappings, namespaces: namespaces)) ?? []).map(\.message)
    if let traffic = try? PodTraffic.options(config, namespaces: namespaces) {
      attachment.ingressBits = traffic.ingressRate ?? 0
      attachment.egressBits = traffic.egressRate ?? 0
    }
    attachment.containers = containers.map(\.place).sorted { ($0.name, $0.id) < ($1.name, $1.id) }
    return attachment
  }
}

extension Container {
  fileprivate var place: Swiftlet_V1_NetworkContainer {
    let record = record
    var message = Swiftlet_V1_NetworkContainer()
    message.id = id.value
    message.name = config.metadata.name
    message.running = record.state == .running
    message.pid = record.state == .running ? record.process?.pid ?? 0 : 0
    return message
  }
}

extension HostPort {
  fileprivate var message: Swiftlet_V1_NetworkPort {
    var message = Swiftlet_V1_NetworkPort()
    message.protocol = transport.rawValue
    message.hostIp = hostIP ?? ""
    message.hostPort = UInt32(hostPort)
    message.containerPort = UInt32(containerPort)
    return message
  }
}

extension Duration {
  /// Negative ones count as none.
  var wholeNanoseconds: UInt64 {
    UInt64(max(0, components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000))
  }
}
