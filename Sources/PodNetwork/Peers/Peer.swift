internal import RuntimeModel

/// A record with everything in it read.
struct Peer: Sendable {
  struct Fault: Error {
    var reason: String
  }

  /// How one block of it is reached.
  enum Way {
    case gateway(IPAddress)
    case tunnel(to: IPAddress, by: Int32)
  }

  var record: NodeRecord
  var blocks: [AddressBlock]
  var address4: IPAddress?
  var address6: IPAddress?
  var mac: MACAddress

  var addresses: [IPAddress] { [address4, address6].compactMap { $0 } }

  static func parse(_ record: NodeRecord, _ ground: PeerPlan.Ground) -> Result<Peer, Fault> {
    if let fault = record.fault { return .failure(Fault(reason: fault)) }
    let blocks = record.podCIDRs.compactMap { AddressBlock($0) }
    let cluster = ground.plan.clusterBlocks
    if let outside = blocks.first(where: { block in !cluster.contains { $0.contains(block) } }) {
      return .failure(Fault(reason: "podCIDRs: \(outside) is not within cluster_cidrs"))
    }
    guard let mac = record.vtepMAC.map({ MACAddress($0) }) ?? MACAddress(tunnelEndOf: blocks) else {
      return .failure(Fault(reason: "vtepMAC: \"\(record.vtepMAC ?? "")\" is not an Ethernet address"))
    }
    let peer = Peer(
      record: record, blocks: blocks, address4: record.address4.flatMap { IPAddress($0) },
      address6: record.address6.flatMap { IPAddress($0) }, mac: mac)
    let own = [ground.underlay.address4, ground.underlay.address6]
    if let shared = peer.addresses.first(where: { own.contains($0) }) {
      return .failure(Fault(reason: "address: \(shared) is this node's own"))
    }
    return .success(peer)
  }

  /// Both ends must agree: what arrives another way than by the route back is dropped.
  func way(_ family: AddressFamily, on ground: PeerPlan.Ground) -> Result<Way, Fault> {
    let ours = ground.plan.configuration.backend
    let theirs = NetworkConfiguration.Backend(rawValue: record.backend) ?? .auto
    let node = family == .ipv4 ? address4 : address6
    if ours.hasHostGateway, theirs.hasHostGateway {
      if let node, ground.isOnLink(node) { return .success(.gateway(node)) }
      if ours == .hostGateway || theirs == .hostGateway {
        let reason = node.map { "\($0) is not on the link of \(ground.underlay.name)" } ?? "no \(family) address"
        return .failure(Fault(reason: "host-gw: \(reason)"))
      }
    }
    guard ours.hasTunnel, theirs.hasTunnel, let device = ground.tunnel else {
      return .failure(Fault(reason: "backend: theirs is \(theirs.rawValue), ours \(ours.rawValue)"))
    }
    let tunnel = ground.plan.configuration.vxlan
    guard record.vni == Int(tunnel.vni), record.port == Int(tunnel.port) else {
      return .failure(
        Fault(
          reason: "vxlan: their vni \(record.vni) and port \(record.port) are not our \(tunnel.vni) and \(tunnel.port)"
        ))
    }
    let outer = ground.underlay.tunnelFamily
    guard let end = outer == .ipv4 ? address4 : address6 else {
      return .failure(Fault(reason: "vxlan: no \(outer) address"))
    }
    return .success(.tunnel(to: end, by: device))
  }
}

extension MACAddress {
  /// Of a node's tunnel interface, known from its pod blocks alone: `0a:58:` and the first IPv4 address; with IPv6 only
  /// `0a:59:` and a hash of the first address (FNV-1a), where a collision is found when records are read.
  init?(tunnelEndOf blocks: [AddressBlock]) {
    if let block = blocks.first(where: { $0.family == .ipv4 }) {
      self.init(derivedFrom: UInt32(truncatingIfNeeded: block.base.value))
    } else if let block = blocks.first {
      let hash = block.base.bytes.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
      self.init(derivedFrom: hash)
      bytes[1] = 0x59
    } else {
      return nil
    }
  }
}

extension NetworkPlan {
  /// The whole cluster's pods; ours are among them even where the configuration does not say so.
  var clusterBlocks: [AddressBlock] {
    AddressBlock.merged(podBlocks + configuration.clusterCIDRs.compactMap { AddressBlock($0) })
  }

  var vtepMAC: MACAddress? { MACAddress(tunnelEndOf: podBlocks) }

  /// What the tunnel interface carries, so that the node itself has an address in the tunnel.
  var vtepAddresses: [IPAddress] { podBlocks.map(\.base) }
}
