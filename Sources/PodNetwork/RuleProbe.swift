internal import CNetlink
internal import Glibc

/// Which of our rules the kernel has: chain and handle of each. Handles are never given twice within a table
/// (nf_tables), so that rules that somebody flushed and wrote again are seen too.
struct RuleFingerprint: Sendable, Equatable {
  var rules: Set<String> = []

  /// - Parameter netfilter: a NETLINK_NETFILTER socket.
  init(_ plan: NetworkPlan, _ netfilter: NetlinkSocket) throws(NetworkError) {
    // The dump is torn when anybody changes any table meanwhile.
    rules = try netfilter.repeated { () throws(NetworkError) in try Self.read(plan, netfilter) }
  }

  private static func read(_ plan: NetworkPlan, _ netfilter: NetlinkSocket) throws(NetworkError) -> Set<String> {
    var rules: Set<String> = []
    for (family, table) in [(UInt8(NFPROTO_INET), plan.ruleTable), (UInt8(NFPROTO_BRIDGE), plan.guardTable)] {
      var found: Set<String> = []
      let subsystem = UInt16(NFNL_SUBSYS_NFTABLES) << 8
      try netfilter.query(
        type: subsystem | UInt16(NFT_MSG_GETRULE.rawValue), flags: NLM_F_DUMP,
        payload: request(family, table), object: "rules of \(table)"
      ) { type, payload in
        guard type == subsystem | UInt16(NFT_MSG_NEWRULE.rawValue) else { return }
        let attributes = Attributes(payload, after: MemoryLayout<nfgenmsg>.size)
        guard attributes.string(Int(NFTA_RULE_TABLE.rawValue)) == table else { return }
        let chain = attributes.string(Int(NFTA_RULE_CHAIN.rawValue)) ?? ""
        let handle = attributes.bigEndian(Int(NFTA_RULE_HANDLE.rawValue)) ?? 0
        found.insert("\(table) \(chain) \(handle)")
      }
      rules.formUnion(found)
    }
    return rules
  }

  private static func request(_ family: UInt8, _ table: String) -> [UInt8] {
    [family, 0, 0, 0] + netfilterText(UInt16(NFTA_RULE_TABLE.rawValue), table)
  }
}
