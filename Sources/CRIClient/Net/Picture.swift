import CRIProtocol

/// What a drawing of the network shows: the nodes whose daemons were asked, and what those know of other nodes.
struct Picture: Sendable {
  /// A node that was asked.
  struct Node: Sendable {
    var name: String
    var uplink: String
    var addresses: [String]
    var leavesMasqueraded: Bool
    var bridges: [Bridge]
    var tunnel: Tunnel?
    var pods: [Pod]
    /// `10.244.2.0/24` and the name of the node it leads to.
    var routes: [Route]
    /// Of the configuration list, where plugins make the network.
    var plugins: [String]
  }

  struct Bridge: Sendable {
    var name: String
    var addresses: [String]
    /// `mtu 1500, 3 of 1023 ports`.
    var detail: String
    var isUp: Bool
  }

  struct Tunnel: Sendable {
    var name: String
    /// `vxlan 1, udp 4789, mtu 1450`.
    var detail: String
  }

  struct Route: Sendable {
    var destination: String
    var peer: String
    var backend: String
    var isPresent: Bool
  }

  struct Pod: Sendable {
    var namespace: String
    var name: String
    var addresses: [String]
    var interface: String
    var hostInterface: String
    var isHostNetwork: Bool
    /// Pause holds the namespace.
    var pausePID: Int32
    var containers: [(name: String, isRunning: Bool)]
    /// `8080->80/tcp`.
    var ports: [String]
    var trouble: [String]
  }

  /// A node that was not asked: what the others know of it.
  struct Peer: Sendable {
    var name: String
    var addresses: [String]
    var podCIDRs: [String]
    var state: String
    var backend: String
  }

  var nodes: [Node]
  var peers: [Peer]

  init(_ networks: [Swiftlet_V1_NetworkResponse]) {
    nodes = networks.map(Node.init)
    let asked = Set(networks.flatMap { $0.blocks.map(\.cidr) })
    var seen: Set<String> = []
    peers = networks.flatMap(\.peers)
      .filter { peer in asked.isDisjoint(with: peer.podCidrs) && seen.insert(peer.name).inserted }
      .map { peer in
        Peer(
          name: peer.name, addresses: peer.addresses, podCIDRs: peer.podCidrs, state: peer.state,
          backend: peer.backend)
      }
  }

  /// Some node sends through a tunnel.
  var hasTunnel: Bool { nodes.contains { $0.tunnel != nil } }

  /// `vxlan 1, udp 4789`, of the first node that has one.
  var tunnelDetail: String {
    let detail = nodes.compactMap { $0.tunnel?.detail }.first ?? ""
    return detail.split(separator: ",").prefix(2).joined(separator: ",")
  }
}

extension Picture.Node {
  init(_ network: Swiftlet_V1_NetworkResponse) {
    name = network.node.name
    uplink = network.node.uplink
    addresses = network.node.addresses
    leavesMasqueraded = network.node.masquerade
    bridges = network.bridges.map { bridge in
      Picture.Bridge(
        name: bridge.name, addresses: bridge.addresses.filter { !$0.hasPrefix("fe80:") },
        detail: bridge.index == 0 ? "missing" : "mtu \(bridge.mtu), \(bridge.ports) of \(bridge.portLimit) ports",
        isUp: bridge.up)
    }
    if network.hasTunnel {
      let tunnel = network.tunnel
      self.tunnel = Picture.Tunnel(
        name: tunnel.name, detail: "\(tunnel.kind) \(tunnel.identifier), udp \(tunnel.port), mtu \(tunnel.mtu)")
    }
    pods = network.attachments.filter(\.ready).map(Picture.Pod.init)
    routes = network.peers.flatMap { peer in
      peer.podCidrs.map {
        Picture.Route(destination: $0, peer: peer.name, backend: peer.backend, isPresent: peer.routePresent)
      }
    }
    plugins = network.list.plugins
  }

  var bridge: Picture.Bridge? { bridges.first }
}

extension Picture.Pod {
  init(_ attachment: Swiftlet_V1_NetworkAttachment) {
    namespace = attachment.namespace
    name = attachment.name
    addresses = attachment.addresses
    interface = attachment.interface.isEmpty ? "eth0" : attachment.interface
    hostInterface = attachment.hostInterface
    isHostNetwork = attachment.hostNetwork
    pausePID = attachment.pausePid
    containers = attachment.containers.map { ($0.name, $0.running) }
    ports = attachment.ports.map { "\($0.hostPort)->\($0.containerPort)/\($0.protocol)" }
    trouble = attachment.drift
  }
}
