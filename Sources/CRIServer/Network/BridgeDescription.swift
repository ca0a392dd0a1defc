import CRIProtocol
import NodeRegistry
import PodNetwork
import RuntimeModel

extension BridgeProvider {
  func describe(_ response: inout Swiftlet_V1_NetworkResponse, only: Sandbox?, all: [Sandbox]) async throws {
    response.provider = "bridge"
    guard let current = try? network.current else { return }
    let overview = try await current.overview()
    if let uplink = overview.uplink {
      response.node.uplink = uplink.name
      response.node.addresses = uplink.addresses
      response.node.mtu = uplink.mtu
    }
    response.node.masquerade = overview.isMasquerading
    response.bridges = overview.bridges.map(\.message)
    response.attachments = overview.attachments.map { $0.value.message(of: $0.key) }
    response.blocks = overview.blocks.map(\.message)
    response.directCidrs = overview.directCIDRs
    if overview.pool.wanted > 0 {
      response.pool.ready = UInt32(overview.pool.ready)
      response.pool.wanted = UInt32(overview.pool.wanted)
    }
    if let tunnel = overview.tunnel { response.tunnel = tunnel.message }
    let silent = network.registryView?.silent ?? []
    response.peers = current.peers.map { $0.message(isSilent: silent.contains($0.record.name), overview.peerRoutes) }
    response.metrics = overview.metrics.map(\.message) + Self.metrics(response.peers)
    response.metrics += try await current.ruleCounters().metrics.map(\.message)
    response.metrics += current.counters.metrics.map(\.message)
    let findings = current.findings()
    response.foreignChains = findings.compactMap(\.chain)
    response.findings = findings.filter { $0.chain == nil }.map(\.message)
  }

  private static func metrics(_ peers: [Swiftlet_V1_NetworkPeer]) -> [Swiftlet_V1_NetworkMetric] {
    ["live", "silent", "refused"].map { state in
      NetworkMetric(
        "podnet_peers", .gauge, "Other nodes by what is known of them.", labels: ["state": state],
        Double(peers.count { $0.state == state })
      ).message
    }
  }
}

extension PeerState {
  /// - Parameter routes: destinations that the kernel has routes of ours to.
  fileprivate func message(isSilent: Bool, _ routes: Set<String>) -> Swiftlet_V1_NetworkPeer {
    var message = Swiftlet_V1_NetworkPeer()
    message.name = record.name
    message.addresses = record.addresses
    message.podCidrs = record.podCIDRs
    message.backend = Set(ways.values.map(\.rawValue)).sorted().joined(separator: ", ")
    message.state = ways.isEmpty ? "refused" : isSilent ? "silent" : "live"
    message.note = refusal ?? ""
    message.routePresent = !ways.isEmpty && ways.keys.allSatisfy(routes.contains)
    message.ageSeconds = -1
    message.mtu = UInt32(record.mtu ?? 0)
    return message
  }
}

extension NetworkOverview.Tunnel {
  fileprivate var message: Swiftlet_V1_NetworkTunnel {
    var message = Swiftlet_V1_NetworkTunnel()
    message.name = name
    message.kind = "vxlan"
    message.identifier = identifier
    message.port = UInt32(port)
    message.mtu = mtu
    message.mac = mac
    message.up = isUp
    message.addresses = addresses
    message.traffic = traffic.message
    return message
  }
}

extension NetworkOverview.Bridge {
  fileprivate var message: Swiftlet_V1_NetworkBridge {
    var message = Swiftlet_V1_NetworkBridge()
    message.name = name
    message.index = index
    message.mtu = mtu
    message.mac = mac
    message.up = isUp
    message.addresses = addresses
    message.ports = ports
    message.portLimit = Self.portLimit
    return message
  }
}

extension NetworkOverview.Block {
  fileprivate var message: Swiftlet_V1_NetworkBlock {
    var message = Swiftlet_V1_NetworkBlock()
    message.cidr = cidr
    message.addresses = size
    message.used = used
    message.resting = resting
    message.leaked = leaked
    return message
  }
}

extension AttachmentStatus {
  fileprivate func message(of sandbox: Identifier) -> Swiftlet_V1_NetworkAttachment {
    var message = Swiftlet_V1_NetworkAttachment()
    message.podSandboxID = sandbox.value
    message.addresses = lease.addresses
    message.gateway = gateway
    message.mac = lease.mac
    message.interface = PodNetwork.podInterface
    message.hostInterface = lease.hostInterface
    message.hostIndex = hostIndex
    message.bridge = bridge
    message.linkState = linkState
    message.mtu = mtu
    message.traffic = traffic.message
    message.leaseState = state.rawValue
    message.drift = drift
    return message
  }
}

extension LinkTraffic {
  var message: Swiftlet_V1_NetworkTraffic {
    var message = Swiftlet_V1_NetworkTraffic()
    message.receivedBytes = receivedBytes
    message.receivedPackets = receivedPackets
    message.receivedDropped = receivedDropped
    message.sentBytes = sentBytes
    message.sentPackets = sentPackets
    message.sentDropped = sentDropped
    return message
  }
}

extension NetworkMetric {
  var message: Swiftlet_V1_NetworkMetric {
    var message = Swiftlet_V1_NetworkMetric()
    message.name = name
    message.labels = labels
    message.value = value
    message.kind = kind.rawValue
    message.help = help
    return message
  }
}

extension NetworkFinding {
  /// Of a chain in our packets' way; nil for every other finding.
  fileprivate var chain: Swiftlet_V1_ForeignChain? {
    let words = object.split(separator: " ", maxSplits: 2).map(String.init)
    guard kind == .forwardDrop, words.count == 3 else { return nil }
    var message = Swiftlet_V1_ForeignChain()
    (message.family, message.table, message.chain) = (words[0], words[1], words[2])
    message.note = text
    return message
  }

  fileprivate var message: Swiftlet_V1_NetworkFinding {
    var message = Swiftlet_V1_NetworkFinding()
    message.kind = kind.rawValue
    message.object = object
    message.action = text
    return message
  }
}
