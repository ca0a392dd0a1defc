internal import CNetlink
internal import Glibc
internal import Logging
internal import RuntimeModel

/// The other nodes in this node's kernel: tunnel interface, forwarding entries, neighbours, routes. Everything here runs
/// on the writer's thread, and each step is a difference, so that the second run changes nothing.
final class PeerSide: @unchecked Sendable {
  // The guard: after `open` has made it, only jobs of the one `SerialThread` touch it.
  private let host: HostSide
  private let underlay: UnderlayLink?
  /// nil until somebody has said who the peers are: until then what an earlier daemon wrote stays.
  private var desired: (records: [NodeRecord], own: String)?
  private(set) var plan = PeerPlan()
  private(set) var tunnel: Int32?

  private var routes: NetlinkSocket { host.routes }
  private var configuration: NetworkConfiguration { host.plan.configuration }

  init(host: HostSide) {
    self.host = host
    underlay = host.plan.underlay
  }

  /// What a compare did.
  struct Outcome {
    var changes: [String] = []
    var failures: [String] = []
  }

  /// The nodes that an earlier daemon let in stay let in until somebody has said who the peers are.
  func adoptNodes() throws(NetworkError) {
    guard underlay != nil else { return }
    var nodes: Set<IPAddress> = []
    let device = try routes.link(named: configuration.vxlan.device)
    for route in try ourRoutes() where route.interface != device?.index { nodes.insert(route.gateway) }
    if let device, device.alias == alias { nodes.formUnion(try routes.tunnelForwards(device.index).map(\.node)) }
    host.rules.nodes = nodes
  }

  /// Makes the tunnel interface where one is needed, takes ours away where none is, and with no backend our routes, too.
  func open() throws(NetworkError) -> Outcome {
    var outcome = Outcome()
    if let underlay, configuration.backend.hasTunnel {
      outcome.changes += try ensureTunnel(underlay)
    } else {
      outcome.changes += try removeTunnel()
    }
    if configuration.backend == .none {
      desired = ([], "")
      try compareRoutes(&outcome)
    } else {
      try removeOverlapping(&outcome)
    }
    return outcome
  }

  func set(_ records: [NodeRecord], own: String) throws(NetworkError) -> Outcome {
    desired = (records, own)
    return try compare()
  }

  /// Brings the kernel to what was set last.
  func compare() throws(NetworkError) -> Outcome {
    var outcome = Outcome()
    guard let underlay else { return outcome }
    if configuration.backend.hasTunnel { outcome.changes += try ensureTunnel(underlay) }
    guard let desired else { return outcome }
    let earlier = Set(plan.states.filter { $0.refusal == nil }.map(\.record.name))
    let routes = routes
    plan = PeerPlan(
      desired.records, own: desired.own, earlier: earlier,
      on: PeerPlan.Ground(plan: host.plan, underlay: underlay, tunnel: tunnel) { address in
        routes.nextHop(to: address).map { $0.interface == underlay.interface && !$0.gateway } ?? false
      })
    // Before the routes: what comes from a new peer is let in from its first packet on.
    try host.allow(nodes: plan.nodes)
    try compareRoutes(&outcome)
    return outcome
  }

  /// Takes everything away.
  func remove() throws(NetworkError) {
    plan = PeerPlan()
    var outcome = Outcome()
    try compareRoutes(&outcome)
    _ = try removeTunnel()
  }

  // MARK: entries

  private func compareRoutes(_ outcome: inout Outcome) throws(NetworkError) {
    let present = try ourRoutes()
    let (neighbours, forwards) = try tunnelEntries()
    // Away: route, forwarding entry, neighbour. What is replaced below stays until then.
    let kept = Set(plan.routes.map(\.destination))
    var work = BatchSeries()
    for route in present.subtracting(plan.routes) where !kept.contains(route.destination) {
      try work.add("remove route", "\(route)", tolerating: [ESRCH, ENOENT], RouteMessage.removePeerRoute(route))
    }
    if let tunnel {
      let macs = Set(plan.forwards.map(\.mac))
      for forward in forwards.subtracting(plan.forwards) where !macs.contains(forward.mac) {
        try work.add(
          "remove forwarding entry", "\(forward)", tolerating: [ENOENT],
          RouteMessage.tunnelForward(tunnel, forward, remove: true))
      }
      let addresses = Set(plan.neighbours.map(\.address))
      for neighbour in neighbours.subtracting(plan.neighbours) where !addresses.contains(neighbour.address) {
        guard let address = neighbour.address else { continue }
        try work.add(
          "remove neighbour", "\(neighbour)", tolerating: [ENOENT], RouteMessage.neighbour(tunnel, address, nil))
      }
      for neighbour in plan.neighbours.subtracting(neighbours) {
        guard let address = neighbour.address else { continue }
        try work.add("add neighbour", "\(neighbour)", RouteMessage.neighbour(tunnel, address, neighbour.mac))
      }
      for forward in plan.forwards.subtracting(forwards) {
        try work.add("add forwarding entry", "\(forward)", RouteMessage.tunnelForward(tunnel, forward))
      }
    }
    let ours = Set(present.map(\.destination))
    for route in plan.routes.subtracting(present) {
      try work.add(
        "add route", "\(route)", RouteMessage.peerRoute(route, isNew: !ours.contains(route.destination)))
    }
    // One peer's trouble is none of the others'.
    for batch in work.batches {
      for (entry, result) in zip(batch.entries, try routes.execute(batch)) {
        if result.errno == 0 || entry.tolerated.contains(result.errno) {
          outcome.changes.append("\(entry.step) \(entry.object)")
        } else {
          let error = NetworkError.kernel(entry.step, result.errno, entry.object, result.detail)
          outcome.failures.append(result.errno == EEXIST ? "\(error): the route of somebody else stays" : "\(error)")
        }
      }
    }
  }

  /// Within the cluster's blocks only: another daemon's in the same namespace are not ours.
  private func ourRoutes() throws(NetworkError) -> Set<PeerPlan.Route> {
    var found: Set<PeerPlan.Route> = []
    for family in AddressFamily.allCases { found.formUnion(try routes.peerRoutes(family)) }
    let cluster = host.plan.clusterBlocks
    return found.filter { route in cluster.contains { $0.contains(route.destination) } }
  }

  private func tunnelEntries() throws(NetworkError) -> (Set<Neighbour>, Set<PeerPlan.Forward>) {
    guard let tunnel else { return ([], []) }
    let cluster = host.plan.clusterBlocks
    var neighbours: Set<Neighbour> = []
    for family in AddressFamily.allCases {
      // The kernel's own of multicast groups are not in the cluster.
      neighbours.formUnion(
        try routes.fixedNeighbours(family: family.number).filter { entry in
          entry.interface == tunnel && cluster.contains { block in entry.address.map(block.contains) ?? false }
        })
    }
    return (neighbours, try routes.tunnelForwards(tunnel))
  }

  /// Routes that an earlier configuration had to blocks that are now this node's own.
  private func removeOverlapping(_ outcome: inout Outcome) throws(NetworkError) {
    let own = host.plan.podBlocks
    for route in try ourRoutes() where own.contains(where: { $0.overlaps(route.destination) }) {
      try routes.run { batch throws(NetworkError) in
        try batch.add("remove route", "\(route)", tolerating: [ESRCH], RouteMessage.removePeerRoute(route))
      }
      outcome.changes.append("remove route \(route)")
    }
  }

  // MARK: the tunnel interface

  private func ensureTunnel(_ underlay: UnderlayLink) throws(NetworkError) -> [String] {
    let name = configuration.vxlan.device
    guard let mac = host.plan.vtepMAC, let local = underlay.address(underlay.tunnelFamily) else { return [] }
    let wanted = Tunnel(
      vni: configuration.vxlan.vni, port: configuration.vxlan.port, local: local, underlay: underlay.interface,
      mtu: underlay.tunnelMTU, udpChecksum: configuration.vxlan.udpChecksum)
    var changes: [String] = []
    var link = try routes.tunnel(named: name)
    if let found = link, !isSame(found, wanted, mac) {
      try refuseForeign(found.link)
      changes += try removeTunnel()
      link = nil
    }
    if link == nil {
      try routes.run { batch throws(NetworkError) in
        try batch.add(
          "create tunnel", name, RouteMessage.createTunnel(wanted, name: name, underlay: underlay, mac: mac))
      }
      changes.append("made tunnel \(name)")
      link = try routes.tunnel(named: name)
    }
    guard let link else { throw .kernel("find", ENODEV, name) }
    tunnel = link.link.index
    if link.link.alias != alias || !link.link.isUp {
      try routes.run { batch throws(NetworkError) in
        try batch.add(
          "mark tunnel", name, tolerating: [EAFNOSUPPORT], RouteMessage.noLinkLocal(link.link.index, alias: alias))
        try batch.add("set up", name, RouteMessage.change(link.link.index, up: true))
      }
      changes.append("set \(name) up")
    }
    return changes + (try adjustTunnelAddresses(link.link.index))
  }

  private func isSame(_ found: (link: Link, tunnel: Tunnel?), _ wanted: Tunnel, _ mac: MACAddress) -> Bool {
    found.tunnel == wanted && found.link.mac == mac.bytes && found.link.alias == alias
  }

  private func adjustTunnelAddresses(_ index: Int32) throws(NetworkError) -> [String] {
    let wanted = host.plan.vtepAddresses
    let present = try routes.addresses(of: index).map(\.address)
    var changes: [String] = []
    try routes.run { batch throws(NetworkError) in
      for address in present where !wanted.contains(address) {
        try batch.add(
          "remove address \(address) from", configuration.vxlan.device, tolerating: [EADDRNOTAVAIL],
          RouteMessage.tunnelAddress(index, address, remove: true))
        changes.append("removed address \(address) from \(configuration.vxlan.device)")
      }
      for address in wanted where !present.contains(address) {
        try batch.add(
          "add address \(address) to", configuration.vxlan.device, RouteMessage.tunnelAddress(index, address))
        changes.append("added address \(address) to \(configuration.vxlan.device)")
      }
    }
    return changes
  }

  private func removeTunnel() throws(NetworkError) -> [String] {
    tunnel = nil
    guard let found = try routes.link(named: configuration.vxlan.device), found.alias == alias else { return [] }
    try routes.run { batch throws(NetworkError) in
      try batch.add("remove tunnel", found.name, tolerating: [ENODEV], RouteMessage.delete(found.index))
    }
    return ["removed tunnel \(found.name)"]
  }

  private func refuseForeign(_ link: Link) throws(NetworkError) {
    guard link.alias == alias || link.alias.isEmpty && link.kind == "vxlan" && link.mac == host.plan.vtepMAC?.bytes
    else { throw .interfaceTaken(name: link.name, owner: host.describe(link)) }
  }

  /// Of this bridge rather than of another daemon's.
  private var alias: String { "\(LinkAlias.bridge) tunnel of \(host.plan.bridge)" }
}

/// Requests in order, in sends that fit into a socket's buffer.
private struct BatchSeries {
  private(set) var batches: [RouteBatch] = [RouteBatch()]

  mutating func add(
    _ step: String, _ object: String, tolerating: [Int32] = [], _ message: OpaquePointer?
  ) throws(NetworkError) {
    if let last = batches.last, last.entries.count >= 64 { batches.append(RouteBatch()) }
    try batches.last?.add(step, object, tolerating: tolerating, message)
  }
}

extension PeerPlan.Route: CustomStringConvertible {
  var description: String { "\(destination) via \(gateway) on interface \(interface)" }
}

extension PeerPlan.Forward: CustomStringConvertible {
  var description: String { "\(mac) to \(node)" }
}
