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
  var bridge: Int32
  var port = BridgePort()
  var rules: RuleText
  /// Our rules as the kernel numbered them when we last wrote them.
  private(set) var fingerprint: RuleFingerprint?
  /// Bound sockets that keep published ports from other processes.
  var reservations: [Identifier: [SharedFD]] = [:]
  let netfilter: NetlinkSocket
  private let engine: RuleEngine

  init(plan: NetworkPlan, routes: NetlinkSocket, logger: Logger) throws(NetworkError) {
    self.plan = plan
    self.routes = routes
    self.logger = logger
    bridge = 0
    rules = RuleText(plan: plan, filledBlocks: plan.prefilledBlocks)
    engine = try RuleEngine()
    netfilter = try NetlinkSocket(family: NETLINK_NETFILTER)
  }

  // MARK: a pod

  /// A2: the pair, with its host end in the bridge.
  /// - Returns: interface index of the host end.
  func makeVeth(
    _ sandbox: Identifier, _ lease: AddressLease, namespace: Int32, mac: MACAddress, isLive: (Identifier) -> Bool
  ) throws(NetworkError) -> Int32 {
    do throws(NetworkError) {
      return try tryVeth(lease, namespace: namespace, mac: mac)
    } catch .kernel(_, EEXIST, _, _) {
      try clearName(lease.hostInterface, isLive: isLive)
      return try tryVeth(lease, namespace: namespace, mac: mac)
    } catch .kernel(_, EXFULL, _, _) {
      throw .bridgeFull(name: plan.bridge)
    }
  }

  private func tryVeth(_ lease: AddressLease, namespace: Int32, mac: MACAddress) throws(NetworkError) -> Int32 {
    let outcomes = try routes.run { batch throws(NetworkError) in
      try batch.add(
        "create", lease.hostInterface,
        RouteMessage.vethPair(
          name: lease.hostInterface, bridge: bridge, group: plan.configuration.groupID, mtu: plan.mtu,
          podNamespace: namespace, podMAC: mac))
    }
    return try index(of: lease.hostInterface, outcomes)
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
  func configureInside(_ inside: NetlinkSocket, _ lease: AddressLease) throws(NetworkError) {
    try inside.run { batch throws(NetworkError) in
      try batch.add("set up", "lo of the pod", RouteMessage.change(PodInterface.loopback, up: true))
      try batch.add("set up", "eth0 of the pod", RouteMessage.change(PodInterface.index, up: true))
      for address in addresses(lease) {
        try batch.add(
          "add address \(address) to", "eth0 of the pod",
          RouteMessage.address(PodInterface.index, address, prefix: address.family.width))
        let gateway = gateway(address.family)
        try batch.add(
          "add neighbour \(gateway) to", "eth0 of the pod",
          RouteMessage.neighbour(PodInterface.index, gateway, plan.bridgeMAC))
        try batch.add(
          "add default route by \(gateway) to", "eth0 of the pod",
          RouteMessage.defaultRoute(PodInterface.index, gateway))
      }
    }
  }

  /// A4: the port's options and its entries; from the last of them on the pod talks. When this returns, the first
  /// packet of either side arrives.
  func connect(
    _ index: Int32, _ sandbox: Identifier, _ lease: AddressLease, mac: MACAddress, inside: NetlinkSocket
  ) throws(NetworkError) {
    try routes.run { batch throws(NetworkError) in
      try addPort(batch, index, sandbox, lease)
      try addEntries(batch, index, lease, mac)
      try batch.add("look at", lease.hostInterface, RouteMessage.takeNote(index))
      try batch.add("look at", plan.bridge, RouteMessage.takeNote(bridge))
    }
    try inside.run { batch throws(NetworkError) in
      try batch.add("look at", "eth0 of the pod", RouteMessage.takeNote(PodInterface.index))
    }
  }

  func addPort(
    _ batch: RouteBatch, _ index: Int32, _ sandbox: Identifier, _ lease: AddressLease
  ) throws(NetworkError) {
    // A kernel without IPv6 does not know the family, and has nothing to be quiet about.
    try batch.add(
      "mark", lease.hostInterface, tolerating: [EAFNOSUPPORT],
      RouteMessage.noLinkLocal(index, alias: LinkAlias.pod(sandbox)))
    try batch.add("set port options of", lease.hostInterface, RouteMessage.bridgePortUp(index, port))
  }

  func addEntries(
    _ batch: RouteBatch, _ index: Int32, _ lease: AddressLease, _ mac: MACAddress
  ) throws(NetworkError) {
    for address in addresses(lease) {
      try batch.add(
        "add neighbour \(address) to", plan.bridge, RouteMessage.neighbour(bridge, address, mac))
    }
    try batch.add("add forwarding entry \(mac) to", lease.hostInterface, RouteMessage.forwarding(index, mac))
  }

  /// The instant cut: no frame of the pod passes the locked port any more, and none finds it.
  func cut(_ index: Int32?, _ lease: AddressLease) {
    guard let mac = MACAddress(lease.mac) else { return }
    do throws(NetworkError) {
      try routes.run { batch throws(NetworkError) in
        let gone = [ENOENT, ENODEV, ENXIO, EINVAL, EOPNOTSUPP]
        if let index {
          try batch.add(
            "remove forwarding entry \(mac) from", lease.hostInterface, tolerating: gone,
            RouteMessage.forwarding(index, mac, remove: true))
        }
        for address in addresses(lease) {
          try batch.add(
            "remove neighbour \(address) from", plan.bridge, tolerating: gone,
            RouteMessage.neighbour(bridge, address, nil))
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
    try engine.run(rules.whole)
    let written = try RuleFingerprint(plan, netfilter)
    fingerprint = written
    return written
  }

  /// Whether the rules are still those that we wrote.
  func hasRules() throws(NetworkError) -> Bool { try RuleFingerprint(plan, netfilter) == fingerprint }

  func command(_ text: String) throws(NetworkError) { try engine.run(text) }

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
    return link.master == bridge || (link.master == 0 && plan.number(ofInterface: link.name) != nil)
  }

  func addresses(_ lease: AddressLease) -> [IPAddress] { lease.addresses.compactMap { IPAddress($0) } }

  func describe(_ link: Link) -> String {
    let kind = link.kind.isEmpty ? "an interface" : "a \(link.kind)"
    return link.alias.isEmpty ? kind : "\(kind) with alias \"\(link.alias)\""
  }

  /// The interface index that the kernel's echo of a creation carries.
  func index(of name: String, _ outcomes: [RouteBatch.Outcome]) throws(NetworkError) -> Int32 {
    let echoed = outcomes.first?.echo.flatMap { echo in echo.withUnsafeBytes { Link($0)?.index } }
    if let echoed, echoed > 0 { return echoed }
    guard let link = try routes.link(named: name) else { throw .kernel("find", ENODEV, name) }
    return link.index
  }

  private func gateway(_ family: AddressFamily) -> IPAddress {
    family == .ipv6 ? NetworkPlan.gatewayLinkLocal : plan.gateway
  }
}
