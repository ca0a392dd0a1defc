internal import RuntimeModel

/// The `[network]` table of the configuration file (NETWORK.md 3); the defaults work with no file.
package struct NetworkConfiguration: Sendable, Hashable {
  /// How pods of one node reach each other.
  package enum Addressing: String, Sendable, Hashable, CaseIterable {
    /// A pod holds /32 and /128; everything goes through the bridge's address. No broadcast between pods, and more than
    /// one bridge's 1023 of them.
    case routed
    /// Pods share one layer-2 network with broadcast and multicast. A host port of a pod of the same node sees the
    /// gateway as its client.
    case switched
  }

  /// How packets reach the pods of other nodes.
  package enum Backend: String, Sendable, Hashable, CaseIterable {
    /// Not at all, or by routes that somebody else sets.
    case none
    /// A route by each peer, which must be on the same link.
    case hostGateway = "host-gw"
    /// A VXLAN tunnel (RFC 7348).
    case vxlan
    /// For each peer the first of both that works.
    case auto

    /// Bytes that a packet between nodes may grow by: Ethernet, VXLAN, UDP and the underlay's IP header.
    /// - Parameter family: of the addresses that nodes have on the underlay.
    func overhead(_ family: AddressFamily) -> UInt32 {
      switch self {
      case .none, .hostGateway: 0
      case .vxlan, .auto: family == .ipv4 ? 50 : 70
      }
    }
  }

  /// What to do about `net.bridge.bridge-nf-call-*tables`.
  package enum BridgeNfCall: String, Sendable, Hashable, CaseIterable {
    /// Write 0 and say so.
    case off
    /// Leave it.
    case keep
  }

  /// Which pods of this node reach each other's ports that are not published. Pods of other nodes, whose group nobody
  /// here knows, are kept out by `label` and `full` alike.
  package enum Isolation: String, Sendable, Hashable, CaseIterable {
    /// All of them.
    case none
    /// Those of one group (`TrafficOptions.group`); a pod without one is alone.
    case label
    /// None.
    case full
  }

  /// Who else reaches ports that are not published.
  package enum DirectAccess: String, Sendable, Hashable, CaseIterable {
    /// The cluster: other nodes and their pods.
    case cluster
    /// Everybody who has a route.
    case any
    /// Nobody from beyond the node.
    case none
  }

  /// The table `host_ports`.
  package struct HostPorts: Sendable, Hashable {
    /// Hold each published port by a bound socket, so that no process of the node can take it.
    package var reserve = true
    /// The node reaches published ports by 127.0.0.1, too (`route_localnet` of the bridge).
    package var localhost = true
  }

  /// What to do about other programs' chains at hook forward that drop what they do not know.
  package enum ForwardAccept: String, Sendable, Hashable, CaseIterable {
    /// Put accept rules for the bridge into them, marked by a comment; they go at uninstall.
    case insert
    /// Say so.
    case warn
    case off
  }

  /// At most 12 characters, so that overflow bridges `-1`, `-2` have room.
  package var bridge = "podbr0"
  /// At most one of each family. The first address of each is the bridge's.
  package var podCIDRs = ["10.244.1.0/24", "fd44:1::/64"]
  /// Destinations that pods reach with their own address.
  package var clusterCIDRs = ["10.244.0.0/16", "fd44::/16"]
  /// Further destinations without address translation.
  package var nonMasqueradeCIDRs: [String] = []
  /// Of pods and bridge. nil: that of the default route's interface, else 1500, less what the backend adds.
  package var mtu: Int?
  package var backend = Backend.none
  /// Pods reach the world under an address of the node.
  package var masquerade = true
  /// As `masquerade`, for IPv6; nil: the same. false is for prefixes that the world has routes to.
  package var masquerade6: Bool?
  /// Addresses that the world sees pods under; at most one of each family. Without one: that of the way out.
  package var sourceIPs: [String] = []
  package var isolation = Isolation.none
  /// Pods have no way to the world: no default route, no translation, and nothing of theirs is forwarded there.
  package var isInternal = false
  package var directAccess = DirectAccess.cluster
  package var hostPorts = HostPorts()
  package var addressing = Addressing.routed
  package var bridgeNfCall = BridgeNfCall.off
  package var forwardAccept = ForwardAccept.warn
  /// Namespaces that are made in advance, each with an address; 0: none.
  package var pool = 8
  /// IFLA_GROUP of the pods' host ends; our mark on them.
  package var groupID: UInt32 = 4242
  /// Host ends are named by this and 8 hexadecimal digits; at most 6 characters.
  package var interfacePrefix = "pod"
  /// The interface that leads to the other nodes, or one of its addresses; nil: that of the default route.
  package var underlay: String?
  package var vxlan = TunnelConfiguration()
  /// A directory where the address cursor survives a restart; nil: the search starts above the highest live address.
  package var stateDirectory: String?

  /// The defaults.
  package init() {}

  /// - Parameter awaitsPodCIDRs: whether pod blocks may be missing as yet.
  /// - Throws: `NetworkError.configuration` naming the first key whose value cannot work.
  package func validated(awaitsPodCIDRs: Bool = false) throws(NetworkError) {
    try Self.checkName(bridge, longest: 12, key: "bridge")
    try Self.checkName(interfacePrefix, longest: 6, key: "interface_prefix")
    guard !bridge.hasPrefix(interfacePrefix) || bridge.utf8.count != interfacePrefix.utf8.count + 8 else {
      throw .configuration(key: "bridge", reason: "\"\(bridge)\" could be the name of a pod's interface")
    }
    if !podCIDRs.isEmpty || !awaitsPodCIDRs { try checkPodBlocks() }
    for (key, texts) in [("cluster_cidrs", clusterCIDRs), ("non_masquerade_cidrs", nonMasqueradeCIDRs)] {
      for text in texts { _ = try Self.block(text, key: key) }
    }
    if let mtu, !(576...65535).contains(mtu) {
      throw .configuration(key: "mtu", reason: "\(mtu) is not within 576 and 65535")
    }
    if let mtu, mtu < 1280, podCIDRs.contains(where: { $0.contains(":") }) {
      throw .configuration(key: "mtu", reason: "\(mtu) is below 1280, which IPv6 needs")
    }
    guard groupID > 0, groupID < 1 << 30 else {
      throw .configuration(key: "group_id", reason: "\(groupID) is not within 1 and \((1 << 30) - 1)")
    }
    try checkTunnel()
    guard (0...256).contains(pool) else {
      throw .configuration(key: "pool", reason: "\(pool) is not within 0 and 256")
    }
    try checkEgress()
  }

  private func checkTunnel() throws(NetworkError) {
    try Self.checkName(vxlan.device, longest: 15, key: "vxlan.device")
    guard vxlan.device != bridge else { throw .configuration(key: "vxlan.device", reason: "is the bridge's name") }
    guard (1..<1 << 24).contains(vxlan.vni) else {
      throw .configuration(key: "vxlan.vni", reason: "\(vxlan.vni) is not within 1 and \((1 << 24) - 1)")
    }
    guard vxlan.port > 0 else { throw .configuration(key: "vxlan.port", reason: "0 is no port") }
  }

  private func checkPodBlocks() throws(NetworkError) {
    let key = "pod_cidrs"
    guard !podCIDRs.isEmpty else { throw .configuration(key: key, reason: "is empty") }
    var families: Set<AddressFamily> = []
    for text in podCIDRs {
      let block = try Self.block(text, key: key)
      guard families.insert(block.family).inserted else {
        throw .configuration(key: key, reason: "\(text) is a second block of its family")
      }
      guard block.prefix <= block.family.width - 2 else {
        throw .configuration(
          key: key, reason: "\(text) has no room for a pod: at most /\(block.family.width - 2)")
      }
      guard block.prefix >= 8, !Self.special.contains(where: block.overlaps) else {
        throw .configuration(key: key, reason: "\(text) holds loopback, link-local or multicast addresses")
      }
    }
  }

  private func checkEgress() throws(NetworkError) {
    // Pods that share a network talk past the node's rules.
    guard isolation == .none || addressing == .routed else {
      throw .configuration(key: "isolation", reason: "\"\(isolation.rawValue)\" needs addressing = \"routed\"")
    }
    var families: Set<AddressFamily> = []
    let pods = podCIDRs.compactMap { AddressBlock($0) }
    for text in sourceIPs {
      let key = "source_ips"
      guard let address = IPAddress(text), !Self.special.contains(where: { $0.contains(address) }) else {
        throw .configuration(key: key, reason: "\"\(text)\" is not an address that the world could answer to")
      }
      guard families.insert(address.family).inserted else {
        throw .configuration(key: key, reason: "\(text) is a second address of its family")
      }
      guard !pods.contains(where: { $0.contains(address) }) else {
        throw .configuration(key: key, reason: "\(text) is an address of pods")
      }
      guard isMasqueraded(address.family), pods.isEmpty || pods.contains(where: { $0.family == address.family }) else {
        throw .configuration(key: key, reason: "\(text) is of a family whose pods are not masqueraded")
      }
    }
    if isInternal, let block = nonMasqueradeCIDRs.first {
      throw .configuration(key: "internal", reason: "is true, and non_masquerade_cidrs lets pods out to \(block)")
    }
  }

  /// Whether pods' packets of this family leave the cluster under an address of the node.
  func isMasqueraded(_ family: AddressFamily) -> Bool {
    guard !isInternal else { return false }
    return family == .ipv4 ? masquerade : masquerade6 ?? masquerade
  }

  /// Blocks that no pod can have: RFC 6890, RFC 4291.
  private static let special = [
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8",
  ].compactMap { AddressBlock($0) }

  private static func block(_ text: String, key: String) throws(NetworkError) -> AddressBlock {
    guard let block = AddressBlock(text) else {
      throw .configuration(key: key, reason: "\"\(text)\" is not a CIDR block without host bits")
    }
    return block
  }

  /// Names that the kernel, nftables and sysctl paths all take as they are.
  private static func checkName(_ name: String, longest: Int, key: String) throws(NetworkError) {
    let isPlain = name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
      default: false
      }
    }
    guard isPlain, (1...longest).contains(name.utf8.count) else {
      throw .configuration(key: key, reason: "\"\(name)\" is not 1 to \(longest) letters, digits, - or _")
    }
  }
}
