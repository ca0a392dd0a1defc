internal import RuntimeModel

/// Who reaches a pod's ports that are not published (`isolation`, `direct_access`).
extension RuleText {
  /// What is forwarded to a pod.
  var incoming: [String] {
    ["ct state established,related accept", "ct state invalid drop"] + sourceCheck + ["ct status dnat accept"]
      + betweenPods + fromBeyond
  }

  /// The cluster's addresses come from where the cluster is: from no underlay that has no route there.
  private var sourceCheck: [String] {
    families.map { family in
      "iifname != \(bridge) \(family.header) saddr @cluster\(family.digit) fib saddr . iif oif missing "
        + RuleCounter.spoofedCluster.drop
    }
  }

  private var betweenPods: [String] {
    switch plan.configuration.isolation {
    case .none: return ["iifname \(bridge) accept"]
    case .full: return ["iifname \(bridge) \(RuleCounter.isolated.drop)"]
    case .label:
      // `jump`, so that a group whose chain somebody emptied is cut off rather than let through.
      return families.map { "iifname \(bridge) \($0.header) saddr vmap @group\($0.digit)" }
        + ["iifname \(bridge) \(RuleCounter.isolated.drop)"]
    }
  }

  private var fromBeyond: [String] {
    switch plan.configuration.directAccess {
    case .any: ["accept"]
    case .cluster: fromPeers + [RuleCounter.incoming.drop]
    case .none: [RuleCounter.incoming.drop]
    }
  }

  // MARK: other nodes

  /// What other nodes send to our pods. An address of the cluster counts only where the route back to it leads; what a
  /// node itself sends comes under its own address, or in the tunnel under the first of its pod block. Pods of other
  /// nodes are of no group that we know.
  private var fromPeers: [String] {
    guard let underlay = plan.underlay else { return [] }
    let backend = plan.configuration.backend
    return families.flatMap { family in
      let (digit, ip) = (family.digit, family.header)
      var rules: [String] = []
      if plan.configuration.isolation == .none {
        if backend.hasTunnel {
          rules.append("iifname \"\(plan.configuration.vxlan.device)\" \(ip) saddr @cluster\(digit) accept")
        }
        if backend.hasHostGateway {
          rules.append("iifname \"\(underlay.name)\" \(ip) saddr @cluster\(digit) fib saddr . iif oif != 0 accept")
        }
      }
      rules.append("iifname \"\(underlay.name)\" \(ip) saddr @nodes\(digit) accept")
      return rules
    }
  }

  var nodeSets: String {
    AddressFamily.allCases.map { family in
      Self.collection("set", "nodes\(family.digit)", "type \(family)_addr", [nodes(family)])
    }.joined()
  }

  /// Replaces the addresses of the other nodes.
  var nodesReplacement: String {
    AddressFamily.allCases.map { family in
      let set = "inet \(plan.ruleTable) nodes\(family.digit)"
      let elements = nodes(family)
      return "flush set \(set)\n" + (elements.isEmpty ? "" : "add element \(set) { \(elements) }\n")
    }.joined()
  }

  /// The tunnel believes every sender; only other nodes may be one. Tunnels of others on the same port go by their number.
  var tunnelSenders: [String] {
    let tunnel = plan.configuration.vxlan
    return ["ip saddr != @nodes4", "ip6 saddr != @nodes6"].map { stranger in
      "udp dport \(tunnel.port) @th,96,24 \(tunnel.vni) \(stranger) \(RuleCounter.tunnel.drop)"
    }
  }

  private func nodes(_ family: AddressFamily) -> String {
    nodes.filter { $0.family == family }.sorted().map(\.description).joined(separator: ", ")
  }

  // MARK: groups

  /// The groups that have members, in order.
  private var groupNames: [String] { Set(groups.values).sorted() }

  /// From a pod's address to its group's chain.
  var groupMaps: String {
    guard plan.configuration.isolation == .label else { return "" }
    return families.map { family in
      let mine = groups.filter { $0.key.family == family }.sorted { $0.key < $1.key }
      return groupNames.map { name in
        Self.collection(
          "set", Self.members(name, family), "type \(family)_addr",
          mine.filter { $0.value == name }.map(\.key.description))
      }.joined()
        + Self.collection(
          "map", "group\(family.digit)", "type \(family)_addr : verdict",
          mine.map { "\($0.key) : jump \(Self.chainName($0.value))" })
    }.joined()
  }

  /// One chain for each group: its members reach each other.
  var groupChains: String {
    guard plan.configuration.isolation == .label else { return "" }
    return groupNames.map { chain(Self.chainName($0), nil, groupRules($0)) }.joined()
  }

  /// A pod's addresses come into a group, which is made if they are its first.
  func joining(_ group: String, _ addresses: [IPAddress]) -> String {
    let table = "inet \(plan.ruleTable)"
    var text = ""
    if !groups.values.contains(group) {
      for family in families { text += "add set \(table) \(Self.members(group, family)) { type \(family)_addr; }\n" }
      text += "add chain \(table) \(Self.chainName(group))\n"
      for rule in groupRules(group) { text += "add rule \(table) \(Self.chainName(group)) \(rule)\n" }
    }
    for address in addresses {
      text += "add element \(table) \(Self.members(group, address.family)) { \(address) }\n"
      text +=
        "add element \(table) group\(address.family.digit) { \(address) : jump \(Self.chainName(group)) }\n"
    }
    return text
  }

  /// A pod's addresses leave their group, which goes with its last.
  func leaving(_ group: String, _ addresses: [IPAddress]) -> String {
    let table = "inet \(plan.ruleTable)"
    var text = ""
    for address in addresses {
      text += "delete element \(table) group\(address.family.digit) { \(address) }\n"
      text += "delete element \(table) \(Self.members(group, address.family)) { \(address) }\n"
    }
    guard !groups.contains(where: { $0.value == group && !addresses.contains($0.key) }) else { return text }
    text += "flush chain \(table) \(Self.chainName(group))\ndelete chain \(table) \(Self.chainName(group))\n"
    for family in families { text += "delete set \(table) \(Self.members(group, family))\n" }
    return text
  }

  private func groupRules(_ group: String) -> [String] {
    families.map { "\($0.header) daddr @\(Self.members(group, $0)) accept" }
  }

  // A group's name is a label's value (`TrafficOptions.isGroup`): letters, digits, `-`, `_` and `.`, which nftables
  // takes in names that begin with a letter.
  private static func chainName(_ group: String) -> String { "group_\(group)" }
  private static func members(_ group: String, _ family: AddressFamily) -> String { "member\(family.digit)_\(group)" }
}
