internal import CNetlink
internal import Glibc
internal import LinuxSystem
internal import Logging
internal import RuntimeModel

/// The node's half of the network. Everything here writes to the kernel, and runs on the writer's thread.
final class HostSide: @unchecked Sendable {
  // The guard: after `open` has made it, only jobs of the one `SerialThread` touch it.
  let plan: NetworkPlan
  let routes: NetlinkSocket
  let logger: Logger
  /// Interface indexes of our bridges by number; an overflow bridge is there once it was needed.
  var bridges: [Int: Int32] = [:]
  /// Bridges that have refused a port: with how many of ours, and when.
  var refusals: [Int: (ports: Int, at: Duration)] = [:]
  var port: BridgePort
  var rules: RuleText
  /// Our rules as the kernel numbered them when we last wrote them.
  private(set) var fingerprint: RuleFingerprint?
  /// Bound sockets that keep published ports from other processes.
  var reservations: [Identifier: [SharedFD]] = [:]
  /// Since `takeSysctlsWritten`.
  var sysctlsWritten: [NetworkRepair] = []
  let netfilter: NetlinkSocket
  let flows: FlowSweeper
  private let engine: RuleEngine

  init(plan: NetworkPlan, routes: NetlinkSocket, logger: Logger) throws(NetworkError) {
    self.plan = plan
    self.routes = routes
    self.logger = logger
    port = BridgePort(isSwitched: plan.isSwitched)
    rules = RuleText(plan: plan, filledBlocks: plan.prefilledBlocks)
    engine = try RuleEngine()
    netfilter = try NetlinkSocket(family: NETLINK_NETFILTER)
    flows = try FlowSweeper(plan: plan, logger: logger)
  }

  /// The bridge's interface index; 0 while there is none.
  var bridge: Int32 { bridges[0] ?? 0 }

  // MARK: a pod

  /// A2: the pair, with its host end in the first bridge that has room.
  /// - Parameter ports: how many of ours each bridge has.
  func makeVeth(
    _ lease: AddressLease, namespace: Int32, mac: MACAddress, ports: [Int: Int], isLive: (Identifier) -> Bool
  ) throws(NetworkError) -> PodLink {
    try inBridgeWithRoom(ports) { number, bridge throws(NetworkError) in
      let bridge = (number, bridge)
      do throws(NetworkError) {
        return try tryVeth(lease, bridge, namespace: namespace, mac: mac)
      } catch .kernel(_, EEXIST, _, _) {
        try clearName(lease.hostInterface, isLive: isLive)
        return try tryVeth(lease, bridge, namespace: namespace, mac: mac)
      }
    }
  }

  private func tryVeth(
    _ lease: AddressLease, _ bridge: (number: Int, index: Int32), namespace: Int32, mac: MACAddress
  ) throws(NetworkError) -> PodLink {
    try Failpoint.attachVeth.pass("create", lease.hostInterface)
    let outcomes = try routes.run { batch throws(NetworkError) in
      try batch.add(
        "create", lease.hostInterface,
        RouteMessage.vethPair(
          name: lease.hostInterface, bridge: bridge.index, group: plan.configuration.groupID, mtu: plan.mtu,
          podNamespace: namespace, podMAC: mac))
    }
    let link = try made(lease.hostInterface, outcomes)
    return PodLink(index: link.index, bridge: bridge.number, inside: link.peer > 0 ? link.peer : PodInterface.index)
  }

  /// A name is in the way: ours of a dead sandbox goes, anybody else's stays.
  private func clearName(_ name: String, isLive: (Identifier) -> Bool) throws(NetworkError) {
    guard let link = try routes.link(named: name) else { return }
    guard isOurs(link) else { throw .interfaceTaken(name: name, owner: describe(link)) }
    if let holder = LinkAlias.sandbox(link.alias), link.group != plan.dyingGroup, isLive(holder) {
      throw .interfaceTaken(name: name, owner: "sandbox \(holder.short)")
    }
    try remove([link.index])
  }

  /// A3: everything inside the pod's namespace.
  func configureInside(_ inside: NetlinkSocket, _ link: PodLink, _ lease: AddressLease) throws(NetworkError) {
    let eth0 = link.inside
    try inside.run(.attachInside) { batch throws(NetworkError) in
      try batch.add("set up", "lo of the pod", RouteMessage.change(PodInterface.loopback, up: true))
      try batch.add("set up", "eth0 of the pod", RouteMessage.change(eth0, up: true))
      for address in addresses(lease) {
        try batch.add(
          "add address \(address) to", "eth0 of the pod",
          RouteMessage.address(eth0, address, prefix: plan.podPrefix(address.family)))
        let gateway = gateway(address.family)
        try batch.add(
          "add neighbour \(gateway) to", "eth0 of the pod",
          RouteMessage.neighbour(eth0, gateway, plan.bridgeMAC))
        for block in plan.podRoutes(address.family) {
          try batch.add(
            "add route to \(block) by \(gateway) to", "eth0 of the pod",
            RouteMessage.route(eth0, to: block, via: gateway))
        }
      }
    }
  }

  /// A4: the port's options and its entries; from the last of them on the pod talks. When this returns, the first
  /// packet of either side arrives.
  func connect(
    _ link: PodLink, _ sandbox: Identifier, _ lease: AddressLease, mac: MACAddress, inside: NetlinkSocket
  ) throws(NetworkError) {
    try routes.run(.attachHost) { batch throws(NetworkError) in
      try addPort(batch, link.index, sandbox, lease)
      try addEntries(batch, link, lease, mac)
      try batch.add("look at", lease.hostInterface, RouteMessage.takeNote(link.index))
      try batch.add("look at", plan.bridgeName(link.bridge), RouteMessage.takeNote(bridges[link.bridge] ?? 0))
    }
    try inside.run { batch throws(NetworkError) in
      try batch.add("look at", "eth0 of the pod", RouteMessage.takeNote(link.inside))
    }
  }

  /// A pod's port and inside without the entries that let it talk.
  func prepare(_ link: PodLink, _ lease: AddressLease, inside: NetlinkSocket) throws(NetworkError) {
    try configureInside(inside, link, lease)
    try routes.run { batch throws(NetworkError) in
      try addPort(batch, link.index, alias: LinkAlias.spare, lease)
      try batch.add("look at", lease.hostInterface, RouteMessage.takeNote(link.index))
      try batch.add("look at", plan.bridgeName(link.bridge), RouteMessage.takeNote(bridges[link.bridge] ?? 0))
    }
    try inside.run { batch throws(NetworkError) in
      try batch.add("look at", "eth0 of the pod", RouteMessage.takeNote(link.inside))
    }
  }

  /// What `prepare` left out.
  func enliven(
    _ spare: SparePod, _ sandbox: Identifier, _ lease: AddressLease, mac: MACAddress
  ) throws(NetworkError) {
    try routes.run(.attachHost) { batch throws(NetworkError) in
      if spare.port == port {
        try batch.add(
          "mark", lease.hostInterface, RouteMessage.change(spare.link.index, alias: LinkAlias.pod(sandbox)))
      } else {
        try addPort(batch, spare.link.index, sandbox, lease)
      }
      try addEntries(batch, spare.link, lease, mac)
    }
  }

  func addPort(
    _ batch: RouteBatch, _ index: Int32, _ sandbox: Identifier, _ lease: AddressLease
  ) throws(NetworkError) {
    try addPort(batch, index, alias: LinkAlias.pod(sandbox), lease)
  }

  private func addPort(
    _ batch: RouteBatch, _ index: Int32, alias: String, _ lease: AddressLease
  ) throws(NetworkError) {
    // A kernel without IPv6 does not know the family, and has nothing to be quiet about.
    try batch.add(
      "mark", lease.hostInterface, tolerating: [EAFNOSUPPORT],
      RouteMessage.noLinkLocal(index, alias: alias))
    try batch.add("set port options of", lease.hostInterface, RouteMessage.bridgePortUp(index, port))
  }

  func addEntries(
    _ batch: RouteBatch, _ link: PodLink, _ lease: AddressLease, _ mac: MACAddress
  ) throws(NetworkError) {
    let (name, bridge) = (plan.bridgeName(link.bridge), bridges[link.bridge] ?? 0)
    for address in addresses(lease) {
      try batch.add("add neighbour \(address) to", name, RouteMessage.neighbour(bridge, address, mac))
      if link.bridge > 0 { try batch.add("add route to \(address) by", name, RouteMessage.hostRoute(bridge, address)) }
    }
    try batch.add("add forwarding entry \(mac) to", lease.hostInterface, RouteMessage.forwarding(link.index, mac))
  }

  /// The instant cut: no frame of the pod passes the locked port any more, and none finds it.
  func cut(_ index: Int32?, bridge number: Int, _ lease: AddressLease) {
    // Without its bridge nothing of it is left but the port.
    guard let mac = MACAddress(lease.mac), let bridge = bridges[number] else { return }
    let name = plan.bridgeName(number)
    do throws(NetworkError) {
      try routes.run { batch throws(NetworkError) in
        let gone = [ENOENT, ESRCH, ENODEV, ENXIO, EINVAL, EOPNOTSUPP]
        if let index {
          try batch.add(
            "remove forwarding entry \(mac) from", lease.hostInterface, tolerating: gone,
            RouteMessage.forwarding(index, mac, remove: true))
        }
        for address in addresses(lease) {
          try batch.add(
            "remove neighbour \(address) from", name, tolerating: gone,
            RouteMessage.neighbour(bridge, address, nil))
          guard number > 0 else { continue }
          try batch.add(
            "remove route to \(address) from", name, tolerating: gone,
            RouteMessage.hostRoute(bridge, address, remove: true))
        }
      }
    } catch {
      logger.warning("a detached pod could not be cut off", metadata: ["error": "\(error)"])
    }
  }

  /// Removes links in one grace period of the kernel, however many they are.
  func remove(_ indexes: [Int32]) throws(NetworkError) {
    guard !indexes.isEmpty else { return }
    for part in stride(from: 0, to: indexes.count, by: 64) {
      try routes.run { batch throws(NetworkError) in
        for index in indexes[part..<min(part + 64, indexes.count)] {
          try batch.add(
            "move", "interface \(index) to the dying group", tolerating: [ENODEV],
            RouteMessage.change(index, group: plan.dyingGroup))
        }
      }
    }
    try routes.run { batch throws(NetworkError) in
      try batch.add(
        "remove", "links of group \(plan.dyingGroup)", tolerating: [ENODEV],
        RouteMessage.deleteGroup(plan.dyingGroup))
    }
  }

  // MARK: rules

  func replaceRules() throws(NetworkError) -> RuleFingerprint {
    // Counters go on where they were. There are none when somebody took the tables away.
    let counts = try netfilter.ruleCounters(plan)
    if !counts.isEmpty { rules.counts = counts }
    try engine.run(rules.whole)
    let written = try RuleFingerprint(plan, netfilter)
    fingerprint = written
    return written
  }

  /// Whether the rules are still those that we wrote.
  func hasRules() throws(NetworkError) -> Bool { try RuleFingerprint(plan, netfilter) == fingerprint }

  /// - Parameter changesRules: whether rules come or go, and not elements only.
  func change(_ text: String, changesRules: Bool) throws(NetworkError) {
    try engine.run(text)
    if changesRules { fingerprint = try RuleFingerprint(plan, netfilter) }
  }

  /// Lets the other nodes themselves in; idempotent.
  func allow(nodes: Set<IPAddress>) throws(NetworkError) {
    guard nodes != rules.nodes else { return }
    let before = rules.nodes
    rules.nodes = nodes
    do throws(NetworkError) {
      try engine.run(rules.nodesReplacement)
    } catch {
      rules.nodes = before
      throw error
    }
  }

  func removeRules() throws(NetworkError) { try engine.run(rules.removal) }

  /// The anti-spoof sets must know an address before its pod talks.
  func fillPairs(for number: UInt32) throws(NetworkError) {
    let block = number / NetworkPlan.pairBlock
    guard !rules.filledBlocks.contains(block) else { return }
    try engine.run(rules.fill(block: block))
    rules.filledBlocks.insert(block)
  }

  // MARK: pieces

  /// Ours by its mark, and of this bridge rather than of another daemon's.
  func isOurs(_ link: Link) -> Bool {
    guard link.kind == "veth", [plan.configuration.groupID, plan.dyingGroup].contains(link.group) else { return false }
    return bridges.values.contains(link.master) || (link.master == 0 && plan.number(ofInterface: link.name) != nil)
  }

  func addresses(_ lease: AddressLease) -> [IPAddress] { lease.addresses.compactMap { IPAddress($0) } }

  func describe(_ link: Link) -> String {
    let kind = link.kind.isEmpty ? "an interface" : "a \(link.kind)"
    return link.alias.isEmpty ? kind : "\(kind) with alias \"\(link.alias)\""
  }

  /// The link that the kernel's echo of a creation tells of.
  func made(_ name: String, _ outcomes: [RouteBatch.Outcome]) throws(NetworkError) -> Link {
    let echoed = outcomes.first?.echo.flatMap { echo in echo.withUnsafeBytes { Link($0) } }
    if let echoed, echoed.index > 0 { return echoed }
    guard let link = try routes.link(named: name) else { throw .kernel("find", ENODEV, name) }
    return link
  }

  private func gateway(_ family: AddressFamily) -> IPAddress {
    family == .ipv6 ? NetworkPlan.gatewayLinkLocal : plan.gateway
  }
}
