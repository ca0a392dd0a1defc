package import RuntimeModel

/// Everything the kernel must hold so that packets find the other nodes' pods: pure, from records to entries.
struct PeerPlan: Sendable, Equatable {
  struct Route: Sendable, Hashable {
    var destination: AddressBlock
    var gateway: IPAddress
    var interface: Int32
  }

  /// Where the tunnel sends frames for an Ethernet address.
  struct Forward: Sendable, Hashable {
    var mac: MACAddress
    var node: IPAddress
  }

  var routes: Set<Route> = []
  /// On the tunnel interface.
  var neighbours: Set<Neighbour> = []
  var forwards: Set<Forward> = []
  /// The peers' own addresses.
  var nodes: Set<IPAddress> = []
  var states: [PeerState] = []

  /// What this node contributes.
  struct Ground: Sendable {
    var plan: NetworkPlan
    var underlay: UnderlayLink
    /// Interface index; nil without a tunnel.
    var tunnel: Int32?
    /// Whether the kernel reaches a node by the underlay without another hop.
    var isOnLink: @Sendable (IPAddress) -> Bool
  }

  init() {}

  /// - Parameters:
  ///   - own: name of this node, whose record is left out.
  ///   - earlier: names that were accepted last time: of two that claim the same block the older stays.
  init(_ records: [NodeRecord], own: String, earlier: Set<String>, on ground: Ground) {
    var taken = BlockOwners()
    for block in ground.plan.podBlocks { taken.insert(block, owner: "this node") }
    var names: Set<String> = []
    var macs: [MACAddress: String] = ground.plan.vtepMAC.map { [$0: "this node"] } ?? [:]
    let ordered = records.filter { $0.name != own }.sorted {
      (earlier.contains($0.name) ? 0 : 1, $0.name) < (earlier.contains($1.name) ? 0 : 1, $1.name)
    }
    for record in ordered {
      guard names.insert(record.name).inserted else {
        states.append(PeerState(record, refusal: "name: two records have it"))
        continue
      }
      let peer: Peer
      switch Peer.parse(record, ground) {
      case .success(let parsed): peer = parsed
      case .failure(let fault):
        states.append(PeerState(record, refusal: fault.reason))
        continue
      }
      if let (block, owner) = peer.blocks.lazy.compactMap({ block in taken.owner(of: block).map { (block, $0) } }).first
      {
        states.append(PeerState(record, refusal: "podCIDRs: \(block) overlaps that of \(owner)"))
        continue
      }
      if let owner = macs[peer.mac] {
        states.append(PeerState(record, refusal: "vtepMAC: \(peer.mac) is that of \(owner)"))
        continue
      }
      macs[peer.mac] = record.name
      for block in peer.blocks { taken.insert(block, owner: record.name) }
      add(peer, on: ground)
    }
    states.sort { $0.record.name < $1.record.name }
  }

  private mutating func add(_ peer: Peer, on ground: Ground) {
    var state = PeerState(peer.record)
    var endpoint: IPAddress?
    for block in peer.blocks where ground.plan.podBlocks.contains(where: { $0.family == block.family }) {
      switch peer.way(block.family, on: ground) {
      case .success(.gateway(let node)):
        routes.insert(Route(destination: block, gateway: node, interface: ground.underlay.interface))
        state.ways[block.description] = .hostGateway
      case .success(.tunnel(let node, let device)):
        // The first address of a block is the other end of the tunnel, as each node's own is this end.
        routes.insert(Route(destination: block, gateway: block.base, interface: device))
        neighbours.insert(Neighbour(interface: device, address: block.base, mac: peer.mac))
        endpoint = node
        state.ways[block.description] = .vxlan
      case .failure(let fault):
        state.refusal = "\(block): \(fault.reason)"
      }
    }
    if let endpoint { forwards.insert(Forward(mac: peer.mac, node: endpoint)) }
    if !state.ways.isEmpty { nodes.formUnion(peer.addresses) }
    states.append(state)
  }
}

/// One other node as the network sees it.
package struct PeerState: Sendable, Equatable {
  package let record: NodeRecord
  /// By pod block: how it is reached.
  package internal(set) var ways: [String: NetworkConfiguration.Backend] = [:]
  /// Why the record, or one of its blocks, is not used; nil: all of it is.
  package internal(set) var refusal: String?

  init(_ record: NodeRecord, refusal: String? = nil) {
    self.record = record
    self.refusal = refusal
  }
}

/// Blocks of which none overlaps another, and who has them.
private struct BlockOwners {
  private var sorted: [(block: AddressBlock, owner: String)] = []

  /// - Returns: who has a block that overlaps this one; nil: nobody.
  func owner(of block: AddressBlock) -> String? {
    // Blocks overlap only where one holds the other: the neighbours in order tell.
    let next = place(of: block)
    return [next - 1, next].lazy.filter(sorted.indices.contains).map { sorted[$0] }
      .first { $0.block.overlaps(block) }?.owner
  }

  mutating func insert(_ block: AddressBlock, owner: String) { sorted.insert((block, owner), at: place(of: block)) }

  private func place(of block: AddressBlock) -> Int {
    var (low, high) = (0, sorted.count)
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle].block < block { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
