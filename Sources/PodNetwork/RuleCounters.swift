internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// Packets and bytes that a rule has seen.
package struct TrafficCount: Sendable, Hashable {
  package var packets: UInt64 = 0
  package var bytes: UInt64 = 0

  package init(packets: UInt64 = 0, bytes: UInt64 = 0) {
    self.packets = packets
    self.bytes = bytes
  }

  package static func + (a: TrafficCount, b: TrafficCount) -> TrafficCount {
    TrafficCount(packets: a.packets + b.packets, bytes: a.bytes + b.bytes)
  }
}

/// What our rules count, each under the name it has in nftables. Everything but `masqueraded` was dropped.
package enum RuleCounter: String, Sendable, Hashable, CaseIterable {
  /// Connections, not packets: address translation looks at the first packet only.
  case masqueraded4
  /// As `masqueraded4`, for IPv6.
  case masqueraded6
  /// Pods' packets to the node's loopback addresses.
  case loopback = "loopback_dropped"
  /// From beyond the node to ports that are not published.
  case incoming = "incoming_dropped"
  /// Under an address of the cluster, from where the cluster is not.
  case spoofedCluster = "spoofed_cluster"
  /// Into the tunnel, from somebody who is no node.
  case tunnel = "tunnel_dropped"
  /// From pod to pod, by `isolation`.
  case isolated = "isolated"
  /// From pods to the world, by `internal`.
  case internalOnly = "internal_dropped"
  /// Pods' frames with a source that is not theirs.
  case spoofedIPv4 = "spoofed_ipv4"
  case spoofedIPv6 = "spoofed_ipv6"
  case spoofedARP = "spoofed_arp"
  /// Pods that play router: advertisements and redirects.
  case routerAdvertisement = "router_advertisement"
  case dhcpServer = "dhcp_server"
  /// Pods' frames of other protocols than IP and ARP.
  case foreignFrame = "foreign_frame"

  package var name: String { rawValue }

  /// Whether it counts what somebody sent under a false identity.
  package var isSpoofing: Bool { isInBridge || self == .spoofedCluster || self == .tunnel }

  static func masqueraded(_ family: AddressFamily) -> RuleCounter { family == .ipv4 ? .masqueraded4 : .masqueraded6 }

  /// Whether it is of the table `podguard`.
  var isInBridge: Bool {
    switch self {
    case .spoofedIPv4, .spoofedIPv6, .spoofedARP, .routerAdvertisement, .dhcpServer, .foreignFrame: true
    default: false
    }
  }

  /// nil: of both.
  var family: AddressFamily? {
    switch self {
    case .masqueraded4, .spoofedIPv4, .spoofedARP: .ipv4
    case .masqueraded6, .spoofedIPv6, .routerAdvertisement: .ipv6
    default: nil
    }
  }

  /// The end of a rule that counts and drops.
  var drop: String { "counter name \"\(name)\" drop" }
}

/// What the rules have counted since the network was opened first, and how full the connection table is.
package struct RuleCounts: Sendable, Equatable {
  package var counts: [RuleCounter: TrafficCount] = [:]
  /// Tracked connections (`nf_conntrack_count`) and how many there may be; nil without connection tracking.
  package var connections: Int?
  package var connectionLimit: Int?

  /// Everything that came under a false identity.
  package var spoofed: TrafficCount {
    counts.filter(\.key.isSpoofing).values.reduce(TrafficCount(), +)
  }

  package subscript(counter: RuleCounter) -> TrafficCount { counts[counter] ?? TrafficCount() }
}

extension PodNetwork {
  /// Reads the counters of our rules: one dump for each table.
  package func ruleCounters() async throws(NetworkError) -> RuleCounts {
    try await writer.run { [host] () throws(NetworkError) in
      var counts = RuleCounts()
      counts.counts = try host.netfilter.ruleCounters(host.plan)
      counts.connections = Sysctl.read("netfilter/nf_conntrack_count").flatMap { Int($0) }
      counts.connectionLimit = Sysctl.read("netfilter/nf_conntrack_max").flatMap { Int($0) }
      return counts
    }
  }
}

extension NetlinkSocket {
  /// The named counters of both tables (linux/netfilter/nf_tables.h, NFT_MSG_GETOBJ); empty where there are no tables.
  func ruleCounters(_ plan: NetworkPlan) throws(NetworkError) -> [RuleCounter: TrafficCount] {
    try repeated { () throws(NetworkError) in
      var found: [RuleCounter: TrafficCount] = [:]
      for (family, table) in [(UInt8(NFPROTO_INET), plan.ruleTable), (UInt8(NFPROTO_BRIDGE), plan.guardTable)] {
        var request = NetfilterMessage(family: family)
        request.add(NFTA_OBJ_TABLE.rawValue, table)
        let subsystem = UInt16(NFNL_SUBSYS_NFTABLES) << 8
        try query(
          type: subsystem | UInt16(NFT_MSG_GETOBJ.rawValue), flags: NLM_F_DUMP, payload: request.bytes,
          object: "counters of \(table)"
        ) { type, payload in
          guard type == subsystem | UInt16(NFT_MSG_NEWOBJ.rawValue), payload.first == family else { return }
          let attributes = Attributes(payload, after: MemoryLayout<nfgenmsg>.size)
          guard
            attributes.string(Int(NFTA_OBJ_TABLE.rawValue)) == table,
            let counter = attributes.string(Int(NFTA_OBJ_NAME.rawValue)).flatMap(RuleCounter.init(rawValue:)),
            let values = attributes.nested(Int(NFTA_OBJ_DATA.rawValue))
          else { return }
          found[counter] = TrafficCount(
            packets: values.bigEndian64(Int(NFTA_COUNTER_PACKETS.rawValue)),
            bytes: values.bigEndian64(Int(NFTA_COUNTER_BYTES.rawValue)))
        }
      }
      return found
    }
  }
}

extension Attributes {
  fileprivate func bigEndian64(_ type: Int) -> UInt64 {
    bytes(type)?.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) } ?? 0
  }
}
