internal import CNetlink
internal import Glibc
internal import Logging
internal import RuntimeModel

/// The bridge and what the node itself must allow.
extension HostSide {
  /// Looks for the bridge without changing anything, and whether the overflow bridges that it knows are still there.
  /// - Throws: `bridgeTaken` when the name is somebody else's.
  func findBridge() throws(NetworkError) -> Link? {
    for (number, index) in bridges where number > 0 {
      if try routes.link(named: plan.bridgeName(number))?.index != index { bridges[number] = nil }
    }
    return try findBridge(0)
  }

  private func findBridge(_ number: Int) throws(NetworkError) -> Link? {
    let name = plan.bridgeName(number)
    guard let found = try routes.link(named: name) else {
      bridges[number] = nil
      return nil
    }
    guard found.kind == "bridge" else { throw .bridgeTaken(name: name, reason: "it is \(describe(found))") }
    guard isOurBridge(found, number) else {
      throw .bridgeTaken(
        name: name, reason: "it is a bridge without our alias \"\(LinkAlias.bridge(number, of: plan))\"")
    }
    bridges[number] = found.index
    return found
  }

  /// One without an alias is one that we were about to mark.
  func isOurBridge(_ link: Link, _ number: Int) -> Bool {
    link.kind == "bridge"
      && (link.alias == LinkAlias.bridge(number, of: plan)
        || link.alias.isEmpty && link.group == plan.configuration.groupID)
  }

  /// Makes the bridges, or makes what is there as it should be.
  /// - Parameter live: leases whose gateway must stay although the configuration has another CIDR now.
  /// - Returns: what was changed, for people; empty when all was so already.
  /// - Throws: `bridgeTaken` when the name is somebody else's.
  func ensureBridge(live: [AddressLease]) throws(NetworkError) -> [NetworkRepair] {
    var changes: [NetworkRepair] = []
    for number in Set(bridges.keys).union([0]).sorted() { changes += try ensureBridge(number, live: live) }
    return changes
  }

  func ensureBridge(_ number: Int, live: [AddressLease]) throws(NetworkError) -> [NetworkRepair] {
    var changes: [NetworkRepair] = []
    let name = plan.bridgeName(number)
    let link: Link
    if let found = try findBridge(number) {
      link = found
    } else {
      changes.append(NetworkRepair(.bridge, "made bridge \(name)"))
      link = try makeBridge(number)
    }
    bridges[number] = link.index
    changes += try adjust(link, number)
    changes += try adjustAddresses(number, live: live.flatMap { addresses($0) })
    if !link.isUp {
      try routes.run { batch throws(NetworkError) in
        try batch.add("set up", name, RouteMessage.change(link.index, up: true))
      }
      changes.append(NetworkRepair(.bridge, "set \(name) up"))
    }
    return changes
  }

  private func makeBridge(_ number: Int) throws(NetworkError) -> Link {
    let name = plan.bridgeName(number)
    let outcomes = try routes.run { batch throws(NetworkError) in
      try batch.add(
        "create bridge", name,
        RouteMessage.createBridge(
          name: name, group: plan.configuration.groupID, mac: plan.bridgeMAC, mtu: plan.mtu - 1))
    }
    let index = try made(name, outcomes).index
    try routes.run { batch throws(NetworkError) in
      try batch.add(
        "mark bridge", name, tolerating: [EAFNOSUPPORT],
        RouteMessage.noLinkLocal(index, alias: LinkAlias.bridge(number, of: plan)))
      try batch.add("quieten bridge", name, RouteMessage.quietBridge(index))
      // Only a change makes the MTU ours (br_change_mtu): else the kernel lowers it to that of the smallest port.
      try batch.add("set MTU \(plan.mtu) of", name, RouteMessage.change(index, mtu: plan.mtu))
    }
    guard let link = try routes.link(index: index) else { throw .kernel("find", ENODEV, name) }
    return link
  }

  /// Takes the bridges away; their ports stay.
  func removeBridge() throws(NetworkError) {
    try findOverflow()
    for number in bridges.keys.sorted() where number > 0 { try removeOverflow(number) }
    guard let found = try findBridge() else { return }
    try routes.run { batch throws(NetworkError) in
      try batch.add("remove bridge", plan.bridge, tolerating: [ENODEV], RouteMessage.delete(found.index))
    }
    bridges = [:]
  }

  private func adjust(_ link: Link, _ number: Int) throws(NetworkError) -> [NetworkRepair] {
    var changes: [NetworkRepair] = []
    let batch = RouteBatch()
    let (name, alias) = (plan.bridgeName(number), LinkAlias.bridge(number, of: plan))
    if link.alias != alias {
      try batch.add("mark bridge", name, RouteMessage.change(link.index, alias: alias))
      changes.append(NetworkRepair(.bridge, "marked \(name)"))
    }
    if link.mac != plan.bridgeMAC.bytes {
      try batch.add("set address of", name, RouteMessage.change(link.index, mac: plan.bridgeMAC))
      changes.append(NetworkRepair(.bridge, "set the MAC of \(name)"))
    }
    if link.mtu != plan.mtu {
      try batch.add("set MTU \(plan.mtu) of", name, RouteMessage.change(link.index, mtu: plan.mtu))
      changes.append(NetworkRepair(.bridge, "set the MTU of \(name) to \(plan.mtu)"))
    }
    try routes.run(batch)
    return changes
  }

  private func adjustAddresses(_ number: Int, live: [IPAddress]) throws(NetworkError) -> [NetworkRepair] {
    var changes: [NetworkRepair] = []
    let (name, bridge) = (plan.bridgeName(number), bridges[number] ?? 0)
    let present = try routes.addresses(of: bridge)
    let wanted = Set(plan.bridgeAddresses(number).map { InterfaceAddress(address: $0.address, prefix: $0.prefix) })
    let batch = RouteBatch()
    for one in wanted.subtracting(present).sorted(by: { $0.address < $1.address }) {
      let text = "\(one.address)/\(one.prefix)"
      try batch.add("add address \(text) to", name, RouteMessage.address(bridge, one.address, prefix: one.prefix))
      changes.append(NetworkRepair(.address, "added address \(text) to \(name)"))
    }
    for one in present.subtracting(wanted) {
      let block = AddressBlock(one.address, prefix: one.prefix)
      if live.contains(where: block.contains) { continue }
      let text = "\(one.address)/\(one.prefix)"
      try batch.add(
        "remove address \(text) from", name, tolerating: [EADDRNOTAVAIL],
        RouteMessage.address(bridge, one.address, prefix: one.prefix, remove: true))
      changes.append(NetworkRepair(.address, "removed address \(text) from \(name)"))
    }
    try routes.run(batch)
    return changes
  }

  /// Another route into a pod CIDR would take the pods' answers elsewhere.
  func checkRoutes() throws(NetworkError) {
    for block in plan.podBlocks {
      for route in try routes.routes(block.family)
      where route.destination.prefix > 0 && !bridges.values.contains(route.interface)
        && route.destination.overlaps(block) && !route.isPeers
      {
        let device = try routes.link(index: route.interface)?.name ?? "several interfaces"
        throw .routeOverlap(cidr: "\(block)", route: "\(route.destination) on \(device)")
      }
    }
  }

  // MARK: sysctls

  /// Forwarding, and what keeps routing over one bridge honest. Every write is logged, none is repeated.
  func applySysctls() throws(NetworkError) {
    if plan.ipv4 != nil { try set("ipv4/ip_forward", "1") }
    if plan.ipv6 != nil { try forwardIPv6() }
    for name in bridgeNames { try applySysctls(ofBridge: name) }
    try applyBridgeNetfilter()
  }

  func applySysctls(ofBridge name: String) throws(NetworkError) {
    if plan.ipv4 != nil {
      try set("ipv4/conf/\(name)/send_redirects", "0")
      try set("ipv4/conf/\(name)/rp_filter", "2")
    }
    if plan.ipv6 != nil {
      try set("ipv6/conf/\(name)/accept_ra", "0")
      try set("ipv6/conf/\(name)/accept_redirects", "0")
    }
  }

  /// - Throws: where IPv6 is configured here, but off in the kernel.
  func checkIPv6() throws(NetworkError) {
    guard plan.ipv6 != nil else { return }
    for name in ["ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6"] where Sysctl.read(name) != "0" {
      throw .configuration(
        key: "pod_cidrs", reason: "has an IPv6 block, but the node has no IPv6: see \(Sysctl.path(name))")
    }
  }

  private func forwardIPv6() throws(NetworkError) {
    guard Sysctl.read("ipv6/conf/all/forwarding") != "1" else { return }
    // A forwarding node stops believing router advertisements, unless it is told to go on (accept_ra 2).
    for route in try routes.routes(.ipv6) where route.destination.prefix == 0 {
      guard let name = try routes.link(index: route.interface)?.name else { continue }
      if Sysctl.read("ipv6/conf/\(name)/accept_ra") == "1" { try set("ipv6/conf/\(name)/accept_ra", "2") }
    }
    try set("ipv6/conf/all/forwarding", "1")
  }

  /// With br_netfilter in the path, host ports of pods of one node fail unless the ports are set otherwise.
  private func applyBridgeNetfilter() throws(NetworkError) {
    switch plan.configuration.bridgeNfCall {
    case .off:
      for name in Self.bridgeNetfilter where Sysctl.read(name) != nil { try set(name, "0") }
    case .keep:
      port.isFiltered = isBridgeFiltered
    }
  }

  private static let bridgeNetfilter = ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"]

  /// Whether br_netfilter hands bridged packets to the rules right now. Nobody tells of a change: the attach asks, and
  /// the compare.
  var isBridgeFiltered: Bool { Self.bridgeNetfilter.contains { Sysctl.read($0) == "1" } }

  /// - Returns: the sysctls written since it was asked last.
  func takeSysctlsWritten() -> [NetworkRepair] {
    defer { sysctlsWritten = [] }
    return sysctlsWritten
  }

  func set(_ name: String, _ value: String) throws(NetworkError) {
    let before = Sysctl.read(name)
    guard before != value else { return }
    let failed = Sysctl.write(name, value)
    guard failed == 0 else { throw .kernel("write \(value) to", failed, Sysctl.path(name)) }
    logger.notice(
      "sysctl written",
      metadata: ["file": "\(Sysctl.path(name))", "before": "\(before ?? "")", "now": "\(value)"])
    sysctlsWritten.append(NetworkRepair(.sysctl, "\(Sysctl.path(name)) was \(before ?? "unreadable")"))
  }
}

/// The node's own way out, which packets to other nodes take too.
struct Underlay: Sendable, Equatable {
  var mtu: UInt32
  /// Of the addresses that nodes know each other by.
  var family: AddressFamily

  /// The interface of the best default route, IPv4's where both families have one; 1500 where there is none.
  init(_ routes: NetlinkSocket) throws(NetworkError) {
    self.init(mtu: 1500, family: .ipv4)
    for family in AddressFamily.allCases {
      let ways = try routes.routes(family).filter { $0.destination.prefix == 0 && $0.interface != 0 }
      guard let way = ways.min(by: { $0.metric < $1.metric }) else { continue }
      guard let mtu = try routes.link(index: way.interface)?.mtu, mtu >= 576 else { continue }
      self.init(mtu: min(mtu, 65535), family: family)
      return
    }
  }

  init(mtu: UInt32, family: AddressFamily) {
    self.mtu = mtu
    self.family = family
  }

  /// What is left for pods: an encapsulated packet must fit, since a lost ICMP message would stall connections.
  /// - Throws: `configuration` where a tunnel leaves IPv6 less than it needs (RFC 8200 section 5).
  func podMTU(_ configuration: NetworkConfiguration) throws(NetworkError) -> UInt32 {
    if let mtu = configuration.mtu { return UInt32(mtu) }
    let left = mtu - configuration.backend.overhead(family)
    guard left < 1280, configuration.podCIDRs.contains(where: { $0.contains(":") }) else { return left }
    if left < mtu {
      throw .configuration(
        key: "mtu", reason: "\(left) is all that the node's \(mtu) leaves inside a tunnel; IPv6 needs 1280")
    }
    return 1280
  }
}
