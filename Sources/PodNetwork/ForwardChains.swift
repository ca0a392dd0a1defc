internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// A base chain of another program at hook forward. A packet passes only if every such chain accepts it, so that one
/// that drops what it does not know cuts pods off, whatever our own rules say (NETWORK.md 5.2).
struct ForwardChain: Sendable, Hashable {
  /// NFPROTO_INET, NFPROTO_IPV4 or NFPROTO_IPV6.
  var family: UInt8
  var table: String
  var name: String
  /// Policy drop, or a last rule that drops or rejects everything (firewalld).
  var drops: Bool
  /// Handles of the accept rules that are ours, by their comment.
  var ours: [UInt64]

  /// NF_INET_FORWARD.
  static let hook = UInt32(NF_INET_FORWARD.rawValue)

  /// `ip filter FORWARD`, as nft(8) names it.
  var place: String {
    let family = [UInt8(NFPROTO_INET): "inet", UInt8(NFPROTO_IPV4): "ip", UInt8(NFPROTO_IPV6): "ip6"][family] ?? "?"
    return "\(family) \(table) \(name)"
  }

  /// A name goes into a command's text only if it can be nothing but a name there.
  var isPlain: Bool {
    (table + name).utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
        true
      default: false
      }
    }
      && [table, name].allSatisfy {
        $0.utf8.first.map { !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ?? false
      }
  }
}

/// Accept rules in other programs' chains (`network.forward_accept`).
extension HostSide {
  /// What marks a rule as ours; the bridge's name, since two daemons may live on one node.
  private var forwardComment: String { "swiftlet \(plan.bridge)" }

  /// - Returns: all base chains of others at hook forward.
  func forwardChains() throws(NetworkError) -> [ForwardChain] {
    try netfilter.repeated { () throws(NetworkError) in
      var chains: [ForwardChain] = []
      for var chain in try netfilter.forwardChains() where ![plan.ruleTable, plan.guardTable].contains(chain.table) {
        let rules = try netfilter.rules(of: chain)
        chain.drops = chain.drops || rules.last?.dropsAll == true
        chain.ours = rules.filter { $0.comment == forwardComment }.map(\.handle)
        chains.append(chain)
      }
      return chains
    }
  }

  /// Brings the accept rules to what the configuration says.
  /// - Returns: what was added or removed, and what people should know.
  func adjustForwardChains(
    _ chains: [ForwardChain]
  ) throws(NetworkError) -> (repairs: [NetworkRepair], findings: [NetworkFinding]) {
    let mode = plan.configuration.forwardAccept
    var repairs: [NetworkRepair] = []
    var findings: [NetworkFinding] = []
    var text = ""
    for chain in chains {
      let wanted = chain.drops && mode == .insert && chain.isPlain
      // Two rules: out of the bridge and into it.
      if wanted && chain.ours.count != 2 {
        text += removal(of: chain) + accepting(in: chain)
        repairs.append(NetworkRepair(.forwardAccept, "accept rules for \(plan.bridge) in chain \(chain.place)"))
      } else if !wanted && !chain.ours.isEmpty {
        text += removal(of: chain)
      }
      guard chain.drops, mode != .off else { continue }
      let end =
        wanted
        ? "; rules of ours in it accept the pods' (network.forward_accept)"
        : ", pods' packets too unless a rule of it accepts them (see network.forward_accept)"
      findings.append(
        NetworkFinding(
          .forwardDrop, object: chain.place, "chain \(chain.place) drops forwarded packets that it does not know" + end)
      )
    }
    if !text.isEmpty { try change(text, changesRules: false) }
    return (repairs, findings)
  }

  /// Takes our rules out of other programs' chains.
  func removeForwardRules() throws(NetworkError) {
    let text = try forwardChains().map(removal).joined()
    if !text.isEmpty { try change(text, changesRules: false) }
  }

  private func accepting(in chain: ForwardChain) -> String {
    ["iifname", "oifname"].map {
      "insert rule \(chain.place) \($0) \"\(plan.bridge)\" counter accept comment \"\(forwardComment)\"\n"
    }.joined()
  }

  private func removal(of chain: ForwardChain) -> String {
    guard chain.isPlain else { return "" }
    return chain.ours.map { "delete rule \(chain.place) handle \($0)\n" }.joined()
  }
}

extension NetlinkSocket {
  private static let subsystem = UInt16(NFNL_SUBSYS_NFTABLES) << 8

  /// Base chains at hook forward that packets of IP pass; `drops` is the policy.
  fileprivate func forwardChains() throws(NetworkError) -> [ForwardChain] {
    var chains: [ForwardChain] = []
    try query(
      type: Self.subsystem | UInt16(NFT_MSG_GETCHAIN.rawValue), flags: NLM_F_DUMP,
      payload: [UInt8(NFPROTO_UNSPEC), 0, 0, 0], object: "chains"
    ) { type, payload in
      guard
        type == Self.subsystem | UInt16(NFT_MSG_NEWCHAIN.rawValue), payload.count > 4,
        [UInt8(NFPROTO_INET), UInt8(NFPROTO_IPV4), UInt8(NFPROTO_IPV6)].contains(payload[0])
      else { return }
      let attributes = Attributes(payload, after: 4)
      guard
        let hook = attributes.nested(Int(NFTA_CHAIN_HOOK.rawValue))?.bigEndian(Int(NFTA_HOOK_HOOKNUM.rawValue)),
        hook == UInt64(ForwardChain.hook),
        let table = attributes.string(Int(NFTA_CHAIN_TABLE.rawValue)),
        let name = attributes.string(Int(NFTA_CHAIN_NAME.rawValue))
      else { return }
      chains.append(
        ForwardChain(
          family: payload[0], table: table, name: name,
          drops: attributes.bigEndian(Int(NFTA_CHAIN_POLICY.rawValue)) == UInt64(NF_DROP), ours: []))
    }
    return chains
  }

  fileprivate func rules(of chain: ForwardChain) throws(NetworkError) -> [RuleOutline] {
    var rules: [RuleOutline] = []
    let names = [(NFTA_RULE_TABLE, chain.table), (NFTA_RULE_CHAIN, chain.name)]
    let payload = names.reduce([chain.family, 0, 0, 0]) { $0 + netfilterText(UInt16($1.0.rawValue), $1.1) }
    do throws(NetworkError) {
      try query(
        type: Self.subsystem | UInt16(NFT_MSG_GETRULE.rawValue), flags: NLM_F_DUMP, payload: payload,
        object: "rules of chain \(chain.place)"
      ) { type, payload in
        guard type == Self.subsystem | UInt16(NFT_MSG_NEWRULE.rawValue) else { return }
        let attributes = Attributes(payload, after: 4)
        guard attributes.string(Int(NFTA_RULE_CHAIN.rawValue)) == chain.name else { return }
        rules.append(RuleOutline(attributes))
      }
    } catch .kernel(_, ENOENT, _, _) {
      return []  // It went meanwhile.
    }
    return rules
  }
}

/// A NUL-terminated string attribute of nf_tables.
func netfilterText(_ type: UInt16, _ value: String) -> [UInt8] {
  let text = Array(value.utf8) + [0]
  return withUnsafeBytes(of: (UInt16(4 + text.count), type)) { Array($0) } + text
    + [UInt8](repeating: 0, count: -text.count & 3)
}

/// As much of a rule as we must know.
private struct RuleOutline {
  var handle: UInt64
  var comment: String?
  /// Drops or rejects whatever comes to it.
  var dropsAll: Bool

  init(_ attributes: Attributes) {
    handle = attributes.bigEndian(Int(NFTA_RULE_HANDLE.rawValue)) ?? 0
    comment = attributes.bytes(Int(NFTA_RULE_USERDATA.rawValue)).flatMap(Self.comment)
    let expressions = attributes.bytes(Int(NFTA_RULE_EXPRESSIONS.rawValue)).map(listed) ?? []
    var isUnconditional = true
    var ends = false
    for expression in expressions.map({ Attributes($0) }) {
      switch expression.string(Int(NFTA_EXPR_NAME.rawValue)) {
      case "counter", "log": continue
      case "reject": ends = true
      case "immediate":
        let verdict = expression.nested(Int(NFTA_EXPR_DATA.rawValue))?.nested(Int(NFTA_IMMEDIATE_DATA.rawValue))?
          .nested(Int(NFTA_DATA_VERDICT.rawValue))?.bigEndian(Int(NFTA_VERDICT_CODE.rawValue))
        if verdict == UInt64(NF_DROP) { ends = true } else { isUnconditional = false }
      default: isUnconditional = false
      }
    }
    dropsAll = isUnconditional && ends
  }

  /// What nft(8) keeps with a rule: type, length and value in bytes; type 0 is the comment (libnftnl, udata.h).
  private static func comment(_ bytes: UnsafeRawBufferPointer) -> String? {
    var offset = 0
    while bytes.count - offset >= 2 {
      let (type, length) = (bytes[offset], Int(bytes[offset + 1]))
      guard length <= bytes.count - offset - 2 else { return nil }
      let value = bytes[(offset + 2)..<(offset + 2 + length)]
      if type == 0 { return String(decoding: value.prefix { $0 != 0 }, as: UTF8.self) }
      offset += 2 + length
    }
    return nil
  }
}
