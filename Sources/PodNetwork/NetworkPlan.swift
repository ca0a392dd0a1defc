internal import RuntimeModel

/// What follows from a configuration: blocks as numbers, the bridge's addresses, names.
///
/// Host number n of a pod is the same in both families; number 1 is the bridge.
struct NetworkPlan: Sendable {
  static let gatewayNumber: UInt32 = 1
  /// The bridge's link-local address: the gateway of the pods' IPv6 routes, the same on every node.
  static let gatewayLinkLocal = IPAddress(.ipv6, 0xfe80 << 112 | 1)
  /// Largest prefilled or filled-at-once part of the anti-spoof sets.
  static let pairBlock: UInt32 = 256

  var configuration: NetworkConfiguration
  var ipv4: AddressBlock?
  var ipv6: AddressBlock?
  /// Destinations without address translation: cluster, exceptions and our own pods, merged.
  var direct: [AddressBlock]
  var mtu: UInt32
  /// How other nodes are reached; nil with no backend.
  var underlay: UnderlayLink?

  /// - Parameter configuration: validated.
  init(_ configuration: NetworkConfiguration, mtu: UInt32) {
    self.configuration = configuration
    let pods = configuration.podCIDRs.compactMap { AddressBlock($0) }
    ipv4 = pods.first { $0.family == .ipv4 }
    ipv6 = pods.first { $0.family == .ipv6 }
    direct = AddressBlock.merged(
      pods + (configuration.clusterCIDRs + configuration.nonMasqueradeCIDRs).compactMap { AddressBlock($0) })
    self.mtu = mtu
  }

  var bridge: String { configuration.bridge }

  /// Pods share one layer-2 network, instead of each reaching the others through the bridge's address.
  var isSwitched: Bool { configuration.addressing == .switched }

  /// Most bridges of this node: pods behind two bridges find each other only where everything is routed.
  var bridgeLimit: Int { isSwitched ? 1 : 64 }

  /// Name of bridge `number`: 0 is the bridge, n its n-th overflow bridge `BRIDGE-n`.
  func bridgeName(_ number: Int) -> String { number == 0 ? bridge : "\(bridge)-\(number)" }

  /// - Returns: nil unless it is a name that one of our bridges could have.
  func bridgeNumber(ofInterface name: String) -> Int? {
    if name == bridge { return 0 }
    guard name.hasPrefix(bridge + "-"), let number = Int(name.dropFirst(bridge.count + 1)) else { return nil }
    return (1..<bridgeLimit).contains(number) && bridgeName(number) == name ? number : nil
  }

  var podBlocks: [AddressBlock] { [ipv4, ipv6].compactMap { $0 } }

  /// Address and prefix of the bridge, one of each family, link-local last.
  var bridgeAddresses: [(address: IPAddress, prefix: Int)] { bridgeAddresses(0) }

  /// The same addresses on every bridge, but only the first has the route to the block.
  func bridgeAddresses(_ number: Int) -> [(address: IPAddress, prefix: Int)] {
    podBlocks.map { ($0.address(Self.gatewayNumber), number == 0 ? $0.prefix : $0.family.width) }
      + (ipv6 == nil ? [] : [(Self.gatewayLinkLocal, 64)])
  }

  /// Prefix of a pod's own address: alone, or in the network it shares.
  func podPrefix(_ family: AddressFamily) -> Int {
    (isSwitched ? (family == .ipv4 ? ipv4 : ipv6)?.prefix : nil) ?? family.width
  }

  /// Where a pod's routes lead, all by its gateway: everywhere, or with `internal` no further than the cluster.
  func podRoutes(_ family: AddressFamily) -> [AddressBlock] {
    guard configuration.isInternal else { return [AddressBlock(IPAddress(family, 0), prefix: 0)] }
    // What is on the link needs no route.
    return clusterBlocks.filter { $0.family == family && !(isSwitched && podBlocks.contains($0)) }
  }

  var bridgeMAC: MACAddress { mac(Self.gatewayNumber) }

  /// What a pod sees as its gateway.
  var gateway: IPAddress { ipv4?.address(Self.gatewayNumber) ?? Self.gatewayLinkLocal }

  /// First and last host number a pod may get: not the network's, not the bridge's, not the broadcast address; at most
  /// 2^24 - 1, since the number of a pod must fit names, MAC and memory.
  var hostNumbers: ClosedRange<UInt32> {
    var last: UInt32 = (1 << 24) - 1
    for block in podBlocks {
      let size = block.last.value - block.base.value
      let usable = block.family == .ipv4 ? size - 1 : size
      last = UInt32(min(UInt128(last), usable))
    }
    return (Self.gatewayNumber + 1)...last
  }

  func mac(_ number: UInt32) -> MACAddress { MACAddress(derivedFrom: nameNumber(number)) }

  func lease(_ number: UInt32) -> AddressLease {
    AddressLease(
      ipv4: ipv4?.address(number).description, ipv6: ipv6?.address(number).description,
      mac: mac(number).description,
      hostInterface: configuration.interfacePrefix + hexadecimal(UInt64(nameNumber(number)), digits: 8))
  }

  /// - Returns: nil for a lease that this plan would not have given: other CIDRs, or a hand-made one.
  func number(of lease: AddressLease) -> UInt32? {
    for (text, block) in [(lease.ipv4, ipv4), (lease.ipv6, ipv6)] {
      guard let text, let block, let address = IPAddress(text), block.contains(address) else { continue }
      let number = address.value - block.base.value
      guard number <= UInt128(hostNumbers.upperBound), hostNumbers.contains(UInt32(number)) else { return nil }
      return UInt32(number)
    }
    return nil
  }

  /// - Returns: nil unless it is a MAC that a pod of this plan could have.
  func number(of mac: MACAddress) -> UInt32? {
    let value = mac.bytes.suffix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    let number = value &- (ipv4.map { UInt32(truncatingIfNeeded: $0.base.value) } ?? 0)
    return hostNumbers.contains(number) && self.mac(number) == mac ? number : nil
  }

  /// - Returns: nil unless it is an address that a pod of this plan could have.
  func number(of address: IPAddress) -> UInt32? {
    guard let block = podBlocks.first(where: { $0.contains(address) }) else { return nil }
    let number = address.value - block.base.value
    guard number <= UInt128(hostNumbers.upperBound), hostNumbers.contains(UInt32(number)) else { return nil }
    return UInt32(number)
  }

  /// - Returns: nil unless it is a name that a pod of this plan's CIDRs could have.
  func number(ofInterface name: String) -> UInt32? {
    let prefix = configuration.interfacePrefix
    guard name.hasPrefix(prefix), name.utf8.count == prefix.utf8.count + 8 else { return nil }
    guard let value = UInt32(name.dropFirst(prefix.count), radix: 16) else { return nil }
    let base = ipv4.map { UInt32(truncatingIfNeeded: $0.base.value) } ?? 0
    let number = value &- base
    return hostNumbers.contains(number) ? number : nil
  }

  /// `podnet` for the default bridge; two daemons on one node have tables of their own.
  var ruleTable: String { "podnet" + tableSuffix }
  var guardTable: String { "podguard" + tableSuffix }

  /// IFLA_GROUP of links on their way out. Outside the range of configured groups.
  var dyingGroup: UInt32 { configuration.groupID | 1 << 30 }

  private var tableSuffix: String { bridge == "podbr0" ? "" : "_" + bridge }

  /// What names and MAC are made of: the IPv4 address, else the host number.
  private func nameNumber(_ number: UInt32) -> UInt32 {
    ipv4.map { UInt32(truncatingIfNeeded: $0.address(number).value) } ?? number
  }
}

/// The mark we leave on a link (IFLA_IFALIAS).
enum LinkAlias {
  static let bridge = "podnet"
  private static let prefix = "podnet:"

  /// - Parameter number: of the bridge; an overflow bridge names the one it belongs to.
  static func bridge(_ number: Int, of plan: NetworkPlan) -> String {
    number == 0 ? bridge : "podnet-overflow:" + plan.bridge
  }

  /// Of a spare pod's host end.
  static let spare = prefix + "spare"

  static func pod(_ sandbox: Identifier) -> String { prefix + sandbox.value }

  /// - Returns: nil unless the alias is one of a pod's host end.
  static func sandbox(_ alias: String) -> Identifier? {
    alias.hasPrefix(prefix) ? Identifier(String(alias.dropFirst(prefix.count))) : nil
  }
}
