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
  /// The isolation group of each pod address that has one.
  var groups: [IPAddress: String] = [:]
  /// What the counters begin with: new tables go on counting where the old ones were.
  var counts: [RuleCounter: TrafficCount] = [:]

  init(plan: NetworkPlan, filledBlocks: Set<UInt32> = []) {
    self.plan = plan
    self.filledBlocks = filledBlocks
    bridges = [plan.bridge]
  }

  /// Both tables, replacing what is there.
  var whole: String { replacing("inet", plan.ruleTable, ruleTable) + replacing("bridge", plan.guardTable, guardTable) }

  /// Takes both tables away, whether they are there or not.
  var removal: String { replacing("inet", plan.ruleTable, "") + replacing("bridge", plan.guardTable, "") }

  // `add` before `delete`: the first transaction must not fail for want of a table.
  private func replacing(_ family: String, _ name: String, _ body: String) -> String {
    let head = "table \(family) \(name)\ndelete table \(family) \(name)\n"
    return body.isEmpty ? head : head + "table \(family) \(name) {\n\(body)}\n"
  }

  var families: [AddressFamily] { plan.podBlocks.map(\.family) }

  /// Interfaces that are one of our bridges.
  var bridge: String {
    let names = bridges.map { "\"\($0)\"" }
    return names.count == 1 ? names[0] : "{ \(names.joined(separator: ", ")) }"
  }

  // MARK: inet

  private var ruleTable: String {
    let bridge = bridge
    var text = counters(inBridge: false)
    for block in plan.podBlocks {
      let family = block.family
      text += Self.set("pod\(family.digit)", family, [block])
      text += Self.set("cluster\(family.digit)", family, plan.clusterBlocks.filter { $0.family == family })
      text += Self.set("direct\(family.digit)", family, plan.direct.filter { $0.family == family })
    }
    if plan.underlay != nil { text += nodeSets }
    text += portMaps + groupMaps
    // Packets to the node's loopback never come from a pod, whatever route_localnet says (CVE-2020-8558).
    text += chain(
      "loopback", "type filter hook prerouting priority raw",
      ["iifname \(bridge) ip daddr 127.0.0.0/8 \(RuleCounter.loopback.drop)"])
    text += chain("hostports", nil, families.flatMap(\.translations))
    // Only what is addressed to the node itself is a host port (CVE-2025-67499).
    let local = "fib daddr type local jump hostports"
    // After those at dstnat (-100): services of a cluster come first (CVE-2019-9946).
    text += chain("prerouting", "type nat hook prerouting priority -95", [local])
    // The kernel routes nothing translated from ::1, and from 127.0.0.0/8 only where it is told to.
    var own = plan.ipv6 == nil ? [] : ["ip6 daddr ::1 return"]
    if !plan.configuration.hostPorts.localhost { own.append("ip daddr 127.0.0.0/8 return") }
    text += chain("output", "type nat hook output priority -95", own + [local])
    text += chain("postrouting", "type nat hook postrouting priority srcnat", sourceTranslation)
    // The bridge routes packets back out of the port's own interface; a pod that believed the redirect would then
    // send to a port that is isolated from its own.
    text += chain(
      "redirects", "type filter hook output priority filter",
      ["oifname \(bridge) icmp type redirect drop", "oifname \(bridge) icmpv6 type nd-redirect drop"])
    if plan.underlay != nil, plan.configuration.backend.hasTunnel {
      text += chain("tunnel", "type filter hook input priority filter", tunnelSenders)
    }
    text += chain("forward", "type filter hook forward priority filter", outgoing + ["oifname \(bridge) jump incoming"])
    text += groupChains
    text += chain("incoming", nil, incoming)
    return text
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
      let (digit, ip) = (family.digit, family.header)
      rules.append("ct status dnat \(ip) saddr . \(ip) daddr @hairpin\(digit) masquerade")
      if family == .ipv4 && plan.configuration.hostPorts.localhost {
        rules.append("ct status dnat ip saddr 127.0.0.0/8 oifname \(bridge) masquerade")
      }
      // Else the answer would take the short way, and its translation with nobody to take it back.
      if plan.isSwitched { rules.append("ct status dnat \(ip) saddr @pod\(digit) \(ip) daddr @pod\(digit) masquerade") }
      // A pod without a default route answers to nobody else.
      if plan.configuration.isInternal {
        rules.append("ct status dnat \(ip) saddr != @cluster\(digit) oifname \(bridge) masquerade")
      }
      guard plan.configuration.isMasqueraded(family) else { continue }
      let multicast = family == .ipv4 ? "224.0.0.0/4" : "ff00::/8"
      let counter = RuleCounter.masqueraded(family).name
      let source = plan.configuration.sourceIPs.compactMap { IPAddress($0) }.first { $0.family == family }
      rules.append(
        "\(ip) saddr @pod\(digit) \(ip) daddr != @direct\(digit) \(ip) daddr != \(multicast) "
          + "counter name \"\(counter)\" \(source.map { "snat \(ip) to \($0)" } ?? "masquerade") fully-random")
    }
    return rules
  }

  /// What pods may send: with `internal`, nothing that leaves the cluster but answers.
  private var outgoing: [String] {
    guard plan.configuration.isInternal else { return [] }
    return families.map { family in
      "iifname \(bridge) ct state { new, invalid, untracked } \(family.header) daddr != @cluster\(family.digit) "
        + RuleCounter.internalOnly.drop
    }
  }

  // MARK: pieces

  func chain(_ name: String, _ hook: String?, _ rules: [String]) -> String {
    let first = hook.map { ["\($0); policy accept;"] } ?? []
    return "  chain \(name) {\n" + (first + rules).map { "    \($0)\n" }.joined() + "  }\n"
  }

  func counters(inBridge: Bool) -> String {
    RuleCounter.allCases.filter { counter in
      counter.isInBridge == inBridge && counter.family.map(families.contains) ?? true
    }.map { counter in
      let count = counts[counter] ?? TrafficCount()
      return "  counter \(counter.name) { packets \(count.packets) bytes \(count.bytes) }\n"
    }.joined()
  }

  static func set(_ name: String, _ family: AddressFamily, _ blocks: [AddressBlock]) -> String {
    collection("set", name, "type \(family)_addr; flags interval", blocks.map(\.description))
  }

  static func collection(_ kind: String, _ name: String, _ type: String, _ elements: [String]) -> String {
    let elements = elements.filter { !$0.isEmpty }
    let list = elements.isEmpty ? "" : "    elements = { \(elements.joined(separator: ", ")) }\n"
    return "  \(kind) \(name) {\n    \(type)\n\(list)  }\n"
  }
}

extension AddressFamily {
  var digit: String { self == .ipv4 ? "4" : "6" }

  /// As nftables names the header.
  var header: String { self == .ipv4 ? "ip" : "ip6" }

  /// The rules that send host ports to pods, the more particular first.
  fileprivate var translations: [String] {
    [
      "meta nfproto \(self) dnat \(header) to \(header) daddr . meta l4proto . th dport map @portip\(digit)",
      "meta nfproto \(self) dnat \(header) to meta l4proto . th dport map @port\(digit)",
    ]
  }
}
