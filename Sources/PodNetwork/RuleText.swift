internal import RuntimeModel

/// Our nftables rules as text for libnftables, from typed values: nothing that a client sends gets in here unparsed.
///
/// Constant rules over sets and maps (NETWORK.md 8): a pod without host ports needs none of its own. The text replaces
/// both tables in one transaction, so that there is no moment without rules.
struct RuleText: Sendable {
  var plan: NetworkPlan
  /// Numbers of the blocks of `NetworkPlan.pairBlock` host numbers whose pairs are in the anti-spoof sets.
  var filledBlocks: Set<UInt32> = []
  /// What is published, of all sandboxes.
  var published: [PublishedPort] = []
  /// Addresses of the other nodes themselves.
  var nodes: Set<IPAddress> = []
  /// Names of our bridges: never a wildcard, which might match somebody else's.
  var bridges: [String]

  init(plan: NetworkPlan, filledBlocks: Set<UInt32> = []) {
    self.plan = plan
    self.filledBlocks = filledBlocks
    bridges = [plan.bridge]
  }

  /// Both tables, replacing what is there.
  var whole: String { replacing("inet", plan.ruleTable, ruleTable) + replacing("bridge", plan.guardTable, guardTable) }

  /// Takes both tables away, whether they are there or not.
  var removal: String { replacing("inet", plan.ruleTable, "") + replacing("bridge", plan.guardTable, "") }

  /// Adds the anti-spoof pairs of one block of host numbers.
  func fill(block: UInt32) -> String {
    let table = "bridge \(plan.guardTable)"
    return families.map { family in
      "add element \(table) pair\(family.digit) { \(pairs(family, [block])) }\n"
    }.joined() + (isAdvertising ? "add element \(table) target6 { \(targets([block])) }\n" : "")
  }

  /// Replaces the addresses of the other nodes.
  var nodesReplacement: String {
    AddressFamily.allCases.map { family in
      let set = "inet \(plan.ruleTable) nodes\(family.digit)"
      let elements = nodes(family)
      return "flush set \(set)\n" + (elements.isEmpty ? "" : "add element \(set) { \(elements) }\n")
    }.joined()
  }

  // `add` before `delete`: the first transaction must not fail for want of a table.
  private func replacing(_ family: String, _ name: String, _ body: String) -> String {
    let head = "table \(family) \(name)\ndelete table \(family) \(name)\n"
    return body.isEmpty ? head : head + "table \(family) \(name) {\n\(body)}\n"
  }

  private var families: [AddressFamily] { plan.podBlocks.map(\.family) }

  // MARK: inet

  private var ruleTable: String {
    let bridge = bridge
    var text = ""
    for block in plan.podBlocks {
      text += Self.set("pod\(block.family.digit)", block.family, [block])
      text += Self.set("direct\(block.family.digit)", block.family, plan.direct.filter { $0.family == block.family })
    }
    if plan.underlay != nil { text += peerSets }
    text += portMaps
    // Packets to the node's loopback never come from a pod, whatever route_localnet says (CVE-2020-8558).
    text += chain(
      "loopback", "type filter hook prerouting priority raw", ["iifname \(bridge) ip daddr 127.0.0.0/8 counter drop"])
    text += chain("hostports", nil, families.flatMap(\.translations))
    // Only what is addressed to the node itself is a host port (CVE-2025-67499).
    let local = "fib daddr type local jump hostports"
    // After those at dstnat (-100): services of a cluster come first (CVE-2019-9946).
    text += chain("prerouting", "type nat hook prerouting priority -95", [local])
    text += chain("output", "type nat hook output priority -95", [local])
    text += chain("postrouting", "type nat hook postrouting priority srcnat", sourceTranslation)
    // The bridge routes packets back out of the port's own interface; a pod that believed the redirect would then
    // send to a port that is isolated from its own.
    text += chain(
      "redirects", "type filter hook output priority filter",
      ["oifname \(bridge) icmp type redirect drop", "oifname \(bridge) icmpv6 type nd-redirect drop"])
    if plan.underlay != nil, plan.configuration.backend.hasTunnel {
      text += chain("tunnel", "type filter hook input priority filter", tunnelSenders)
    }
    text += chain("forward", "type filter hook forward priority filter", ["oifname \(bridge) jump incoming"])
    text += chain(
      "incoming", nil,
      [
        "ct state established,related accept", "ct state invalid drop", "ct status dnat accept",
        "iifname \(bridge) accept",
      ] + fromPeers + ["counter drop"])
    return text
  }

  /// What other nodes send to our pods. An address of the cluster counts only where the route back to it leads; what a
  /// node itself sends comes under its own address, or in the tunnel under the first of its pod block.
  private var fromPeers: [String] {
    guard let underlay = plan.underlay else { return [] }
    let backend = plan.configuration.backend
    return plan.podBlocks.flatMap { block in
      let (digit, ip) = (block.family.digit, block.family == .ipv4 ? "ip" : "ip6")
      var rules: [String] = []
      if backend.hasTunnel {
        rules.append("iifname \"\(plan.configuration.vxlan.device)\" \(ip) saddr @cluster\(digit) accept")
      }
      if backend.hasHostGateway {
        rules.append(
          "iifname \"\(underlay.name)\" \(ip) saddr @cluster\(digit) fib saddr . iif oif != 0 accept")
      }
      rules.append("iifname \"\(underlay.name)\" \(ip) saddr @nodes\(digit) accept")
      return rules
    }
  }

  private var peerSets: String {
    families.map { family in
      Self.set("cluster\(family.digit)", family, plan.clusterBlocks.filter { $0.family == family })
    }.joined()
      + AddressFamily.allCases.map { family in
        Self.collection("set", "nodes\(family.digit)", "type \(family)_addr", [nodes(family)])
      }.joined()
  }

  /// The tunnel believes every sender; only other nodes may be one. Tunnels of others on the same port go by their number.
  private var tunnelSenders: [String] {
    let tunnel = plan.configuration.vxlan
    return ["ip saddr != @nodes4", "ip6 saddr != @nodes6"].map { stranger in
      "udp dport \(tunnel.port) @th,96,24 \(tunnel.vni) \(stranger) counter drop"
    }
  }

  private func nodes(_ family: AddressFamily) -> String {
    nodes.filter { $0.family == family }.sorted().map(\.description).joined(separator: ", ")
  }

  private var portMaps: String {
    families.map { family in
      let address = "\(family)_addr"
      let mine = published.filter { $0.podAddress.family == family }
      return Self.collection(
        "set", "hairpin\(family.digit)", "type \(address) . \(address)",
        Set(mine.map { "\($0.podAddress) . \($0.podAddress)" }).sorted())
        + Self.collection(
          "map", "port\(family.digit)", "type inet_proto . inet_service : \(address) . inet_service",
          mine.filter { $0.hostAddress == nil }.map(\.element).sorted())
        + Self.collection(
          "map", "portip\(family.digit)",
          "type \(address) . inet_proto . inet_service : \(address) . inet_service",
          mine.filter { $0.hostAddress != nil }.map(\.element).sorted())
    }.joined()
  }

  private var sourceTranslation: [String] {
    var rules: [String] = []
    for family in families {
      let digit = family.digit
      let ip = family == .ipv4 ? "ip" : "ip6"
      rules.append("ct status dnat \(ip) saddr . \(ip) daddr @hairpin\(digit) masquerade")
      if family == .ipv4 {
        rules.append("ct status dnat ip saddr 127.0.0.0/8 oifname \(bridge) masquerade")
      }
      // Else the answer would take the short way, and its translation with nobody to take it back.
      if plan.isSwitched { rules.append("ct status dnat \(ip) saddr @pod\(digit) \(ip) daddr @pod\(digit) masquerade") }
      guard plan.configuration.masquerade else { continue }
      let multicast = family == .ipv4 ? "224.0.0.0/4" : "ff00::/8"
      rules.append(
        "\(ip) saddr @pod\(digit) \(ip) daddr != @direct\(digit) \(ip) daddr != \(multicast) "
          + "counter masquerade fully-random")
    }
    return rules
  }

  // MARK: bridge

  private var guardTable: String {
    var text = ""
    for family in families {
      text += Self.collection(
        "set", "pair\(family.digit)", "type ether_addr . \(family)_addr", [pairs(family, filledBlocks.sorted())])
    }
    if isAdvertising {
      text += Self.collection(
        "set", "target6", "typeof ether saddr . @th,64,128", [targets(filledBlocks.sorted())])
    }
    // Frames of other bridges are none of our business. Interface names follow from addresses, so our ports are a few
    // prefixes; this kernel has no `meta ibrname`.
    text += chain(
      "prerouting", "type filter hook prerouting priority -300",
      plan.interfacePatterns.map { "iifname \"\($0)\" jump check" })
    var rules = ["udp sport 67 counter drop"]
    if plan.ipv4 != nil {
      rules.append("ether type ip ether saddr . ip saddr @pair4 accept")
      rules.append("ether type arp arp saddr ether . arp saddr ip @pair4 accept")
    }
    if plan.ipv6 != nil {
      rules.append("ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } counter drop")
      // Where pods hear each other, a pod advertises no address but its own (RFC 4861 section 4.4: target at 8 bytes).
      if isAdvertising {
        rules.append(
          "ether type ip6 icmpv6 type nd-neighbor-advert ether saddr . @th,64,128 != @target6 counter drop")
      }
      rules.append("ether type ip6 ether saddr . ip6 saddr @pair6 accept")
    }
    return text + chain("check", nil, rules + ["counter drop"])
  }

  /// Interfaces that are one of our bridges.
  private var bridge: String {
    let names = bridges.map { "\"\($0)\"" }
    return names.count == 1 ? names[0] : "{ \(names.joined(separator: ", ")) }"
  }

  private var isAdvertising: Bool { plan.isSwitched && plan.ipv6 != nil }

  /// The pairs of `pair6`, with the addresses as numbers: nftables 1.0.6 has no name for an advertisement's target.
  private func targets(_ blocks: [UInt32]) -> String {
    pairs(.ipv6, blocks) {
      "0x" + hexadecimal(UInt64($0.value >> 64), digits: 16)
        + hexadecimal(UInt64(truncatingIfNeeded: $0.value), digits: 16)
    }
  }

  private func pairs(
    _ family: AddressFamily, _ blocks: [UInt32], _ text: (IPAddress) -> String = { "\($0)" }
  ) -> String {
    guard let block = family == .ipv4 ? plan.ipv4 : plan.ipv6 else { return "" }
    var elements: [String] = []
    for filled in blocks {
      for number in plan.hostNumbers(inPairBlock: filled) {
        let mac = plan.mac(number)
        elements.append("\(mac) . \(text(block.address(number)))")
        if family == .ipv6 { elements.append("\(mac) . \(text(mac.linkLocal))") }
      }
    }
    return elements.joined(separator: ", ")
  }

  // MARK: pieces

  private func chain(_ name: String, _ hook: String?, _ rules: [String]) -> String {
    let first = hook.map { ["\($0); policy accept;"] } ?? []
    return "  chain \(name) {\n" + (first + rules).map { "    \($0)\n" }.joined() + "  }\n"
  }

  private static func set(_ name: String, _ family: AddressFamily, _ blocks: [AddressBlock]) -> String {
    collection("set", name, "type \(family)_addr; flags interval", blocks.map(\.description))
  }

  private static func collection(_ kind: String, _ name: String, _ type: String, _ elements: [String]) -> String {
    let elements = elements.filter { !$0.isEmpty }
    let list = elements.isEmpty ? "" : "    elements = { \(elements.joined(separator: ", ")) }\n"
    return "  \(kind) \(name) {\n    \(type)\n\(list)  }\n"
  }
}

extension AddressFamily {
  var digit: String { self == .ipv4 ? "4" : "6" }

  /// The rules that send host ports to pods, the more particular first.
  fileprivate var translations: [String] {
    let ip = self == .ipv4 ? "ip" : "ip6"
    return [
      "meta nfproto \(self) dnat \(ip) to \(ip) daddr . meta l4proto . th dport map @portip\(digit)",
      "meta nfproto \(self) dnat \(ip) to meta l4proto . th dport map @port\(digit)",
    ]
  }
}

extension NetworkPlan {
  /// The host numbers of one block of the anti-spoof sets.
  func hostNumbers(inPairBlock block: UInt32) -> ClosedRange<UInt32> {
    let first = block * Self.pairBlock
    return max(first, hostNumbers.lowerBound)...min(first + Self.pairBlock - 1, hostNumbers.upperBound)
  }

  /// The blocks that are filled at the start: all of a small CIDR, none of a large one.
  var prefilledBlocks: Set<UInt32> {
    let last = hostNumbers.upperBound / Self.pairBlock
    return last < 4 ? Set(0...last) : []
  }

  /// Wildcards that match the names of our pods' interfaces, and those of no other pod CIDR.
  var interfacePatterns: [String] {
    let hostBits = ipv4.map { 32 - $0.prefix } ?? UInt32.bitWidth - hostNumbers.upperBound.leadingZeroBitCount
    let first = ipv4.map { UInt32(truncatingIfNeeded: $0.base.value) } ?? 0
    let wildDigits = hostBits / 4
    return (0..<UInt32(1) << (hostBits % 4)).map { part in
      let digits = hexadecimal(UInt64(first | part << (wildDigits * 4)), digits: 8).prefix(8 - wildDigits)
      return configuration.interfacePrefix + digits + (wildDigits == 0 ? "" : "*")
    }
  }
}
