internal import CNetlink
internal import Glibc

/// One thing that nf_tables says has changed.
struct RuleChange: Sendable, Equatable {
  enum Object: Sendable, Equatable {
    case table, chain, rule, set, element
    /// The end of a transaction, or something that filters nothing.
    case other
  }

  var object: Object
  var isGone: Bool
  /// NFPROTO_*.
  var family: UInt8
  var table: String
  /// Of a chain or a rule.
  var chain: String
  /// NF_INET_* where a chain hangs on one.
  var hook: UInt32?

  /// - Returns: nil for what nf_tables did not send.
  init?(_ type: UInt16, _ payload: UnsafeRawBufferPointer) {
    guard type >> 8 == UInt16(NFNL_SUBSYS_NFTABLES), payload.count >= MemoryLayout<nfgenmsg>.size else { return nil }
    let message = UInt32(type & 0xff)
    switch message {
    case NFT_MSG_NEWTABLE.rawValue, NFT_MSG_DELTABLE.rawValue: object = .table
    case NFT_MSG_NEWCHAIN.rawValue, NFT_MSG_DELCHAIN.rawValue: object = .chain
    case NFT_MSG_NEWRULE.rawValue, NFT_MSG_DELRULE.rawValue: object = .rule
    case NFT_MSG_NEWSET.rawValue, NFT_MSG_DELSET.rawValue: object = .set
    case NFT_MSG_NEWSETELEM.rawValue, NFT_MSG_DELSETELEM.rawValue: object = .element
    default: object = .other
    }
    isGone = [
      NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET, NFT_MSG_DELSETELEM,
    ].contains { $0.rawValue == message }
    family = payload[0]
    let attributes = Attributes(payload, after: MemoryLayout<nfgenmsg>.size)
    // The table is attribute 1 of all of them.
    table = attributes.string(Int(NFTA_TABLE_NAME.rawValue)) ?? ""
    switch object {
    case .chain:
      chain = attributes.string(Int(NFTA_CHAIN_NAME.rawValue)) ?? ""
      hook = attributes.nested(Int(NFTA_CHAIN_HOOK.rawValue))?.bigEndian(Int(NFTA_HOOK_HOOKNUM.rawValue))
        .map { UInt32(truncatingIfNeeded: $0) }
    case .rule: chain = attributes.string(Int(NFTA_RULE_CHAIN.rawValue)) ?? ""
    default: chain = ""
    }
  }
}

extension NetworkPlan {
  /// Whether a change is to our tables, other than to elements: those come and go with pods.
  func owns(_ change: RuleChange) -> Bool {
    guard change.object != .other, change.object != .element else { return false }
    return (change.family == UInt8(NFPROTO_INET) && change.table == ruleTable)
      || (change.family == UInt8(NFPROTO_BRIDGE) && change.table == guardTable)
  }
}
