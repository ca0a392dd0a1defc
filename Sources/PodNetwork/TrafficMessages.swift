internal import CNetlink
internal import Glibc

/// Requests about queues and filters (rtnetlink(7), tc(8)) as libnl messages; each is nil when memory ran out.
enum TrafficMessage {
  /// TC_H_ROOT, TC_H_INGRESS and the handle that ingress queues have.
  private static let root: UInt32 = 0xffff_ffff
  private static let ingressParent: UInt32 = 0xffff_fff1
  private static let ingressHandle: UInt32 = 0xffff_0000
  /// ETH_P_ALL.
  private static let everyProtocol: UInt16 = 3
  /// TCA_EGRESS_REDIR and TC_ACT_STOLEN (linux/tc_act/tc_mirred.h, linux/pkt_cls.h).
  private static let redirect: Int32 = 1
  private static let stolen: Int32 = 4

  /// The device that a pod's packets wait in.
  static func createShaper(name: String, group: UInt32, mtu: UInt32) -> OpaquePointer? {
    guard let link = rtnl_link_alloc() else { return nil }
    defer { rtnl_link_put(link) }
    guard rtnl_link_set_type(link, "ifb") == 0 else { return nil }
    rtnl_link_set_name(link, name)
    rtnl_link_set_group(link, group)
    rtnl_link_set_mtu(link, mtu)
    return built { rtnl_link_build_add_request(link, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, $0) }
  }

  /// A token bucket for what leaves an interface (tc-tbf(8)). By hand, since libnl-route-3 ends at 17 Gbit/s.
  static func tokenBucket(_ index: Int32, _ bucket: TokenBucket) -> OpaquePointer? {
    guard let message = nlmsg_alloc_simple(Int32(RTM_NEWQDISC), NLM_F_CREATE | NLM_F_REPLACE) else { return nil }
    var fixed = tcmsg()
    fixed.tcm_ifindex = index
    fixed.tcm_parent = root
    var options = tc_tbf_qopt()
    options.rate.rate = UInt32(clamping: bucket.rate)
    options.rate.linklayer = UInt8(TC_LINKLAYER_ETHERNET.rawValue)
    options.limit = bucket.limit
    let failed =
      nlmsg_append(message, &fixed, MemoryLayout<tcmsg>.size, 4) | nla_put_string(message, Int32(TCA_KIND), "tbf")
    guard failed == 0, let nest = nla_nest_start(message, Int32(TCA_OPTIONS)) else {
      nlmsg_free(message)
      return nil
    }
    let incomplete =
      nla_put(message, Int32(TCA_TBF_PARMS), Int32(MemoryLayout<tc_tbf_qopt>.size), &options)
      | (bucket.rate > UInt64(UInt32.max) ? nla_put_u64(message, Int32(TCA_TBF_RATE64), bucket.rate) : 0)
      | nla_put_u32(message, Int32(TCA_TBF_BURST), bucket.burst)
    guard incomplete == 0, nla_nest_end(message, nest) == 0 else {
      nlmsg_free(message)
      return nil
    }
    return message
  }

  /// Where filters of what comes from an interface hang; they go with it.
  static func ingress(_ index: Int32, remove: Bool = false) -> OpaquePointer? {
    guard let queue = rtnl_qdisc_alloc() else { return nil }
    defer { rtnl_qdisc_put(queue) }
    rtnl_tc_set_ifindex(queue, index)
    rtnl_tc_set_parent(queue, ingressParent)
    rtnl_tc_set_handle(queue, ingressHandle)
    guard rtnl_tc_set_kind(queue, "ingress") == 0 else { return nil }
    return built {
      remove
        ? rtnl_qdisc_build_delete_request(queue, $0)
        : rtnl_qdisc_build_add_request(queue, NLM_F_CREATE | NLM_F_EXCL, $0)
    }
  }

  /// Everything that comes from an interface goes through another first.
  static func redirect(_ index: Int32, through shaper: Int32) -> OpaquePointer? {
    guard let filter = rtnl_cls_alloc() else { return nil }
    defer { rtnl_cls_put(filter) }
    rtnl_tc_set_ifindex(filter, index)
    rtnl_tc_set_parent(filter, ingressHandle)
    guard rtnl_tc_set_kind(filter, "u32") == 0, let action = rtnl_act_alloc() else { return nil }
    defer { rtnl_act_put(action) }
    rtnl_cls_set_prio(filter, 1)
    rtnl_cls_set_protocol(filter, everyProtocol)
    guard rtnl_tc_set_kind(action, "mirred") == 0 else { return nil }
    rtnl_mirred_set_action(action, redirect)
    rtnl_mirred_set_policy(action, stolen)
    rtnl_mirred_set_ifindex(action, UInt32(shaper))
    // A key that every packet has.
    guard
      rtnl_u32_add_key(filter, 0, 0, 0, 0) == 0, rtnl_u32_set_cls_terminal(filter) == 0,
      rtnl_u32_add_action(filter, action) == 0
    else { return nil }
    return built { rtnl_cls_build_add_request(filter, NLM_F_CREATE | NLM_F_EXCL, $0) }
  }

  private static func built(_ make: (UnsafeMutablePointer<OpaquePointer?>) -> Int32) -> OpaquePointer? {
    var message: OpaquePointer?
    guard make(&message) >= 0 else { return nil }
    return message
  }
}

/// Numbers of a token bucket that follow from a rate.
struct TokenBucket: Sendable, Equatable {
  /// Bytes per second.
  var rate: UInt64
  /// Bytes that may pass at once after a pause.
  var burst: UInt32
  /// Bytes that may wait; what comes then is dropped.
  var limit: UInt32

  /// - Parameters:
  ///   - bitsPerSecond: at least 8.
  ///   - mtu: of the interface; the bucket holds a few packets at least, since a larger one would never pass.
  init(bitsPerSecond: UInt64, mtu: UInt32) {
    rate = max(1, bitsPerSecond / 8)
    // 10 ms pass at once and 100 ms wait: what a fast sender is slowed down by, and a slow one does not notice.
    let frame = UInt64(mtu) + 14
    burst = UInt32(clamping: min(max(rate / 100, 4 * frame), 1 << 26))
    limit = UInt32(clamping: min(UInt64(burst) + max(rate / 10, 32 * frame), 1 << 30))
  }
}
