internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// Hears when somebody takes away what leads to the other nodes, on a thread of its own.
///
/// What the kernel drops without a word (routes of a link that goes down) shows as a link event; everything else is
/// found by looking once a minute.
final class PeerWatch: @unchecked Sendable {
  // The guard: only the thread touches `events`; `signal` synchronizes itself.
  private let events: NetlinkSocket
  private let signal = Signal()

  static let interval = Duration.seconds(60)
  /// After a compare that failed in part.
  static let retry = Duration.seconds(5)

  /// Subscribes at once.
  init() throws(NetworkError) {
    let groups = [
      RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
    ]
    events = try NetlinkSocket(family: NETLINK_ROUTE, groups: groups.map { UInt32($0.rawValue) })
  }

  /// What may have to do with other nodes.
  struct Interest: Sendable {
    var interfaces: Set<Int32>
    var isFailing: Bool
  }

  /// - Parameters:
  ///   - interest: asked before each wait; nil ends the thread.
  ///   - compare: asked to look; never waits.
  func start(
    interest: @escaping @Sendable () -> Interest?, _ compare: @escaping @Sendable () -> Void
  ) throws(NetworkError) {
    try startNetworkThread(named: "net-peers") { [self] in serve(interest, compare) }
  }

  /// Makes the thread ask for its interest anew.
  func wake() { signal.raise() }

  private func serve(_ interest: @Sendable () -> Interest?, _ compare: @Sendable () -> Void) {
    while let interest = interest() {
      let patience = interest.isFailing ? Self.retry : Self.interval
      var waiting = [events.raw, signal.raw].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
      let count = poll(&waiting, nfds_t(waiting.count), Int32(patience.components.seconds * 1000))
      if count == 0 { compare() }
      if waiting[1].revents != 0 { signal.clear() }
      guard waiting[0].revents != 0 else { continue }
      var concerns = false
      let isComplete = events.drain { header, payload in
        concerns = concerns || Self.concerns(header, payload, interest.interfaces)
      }
      if concerns || !isComplete { compare() }
    }
  }

  /// Whether an event is about a link that leads to other nodes, or takes away a route of ours.
  static func concerns(_ header: nlmsghdr, _ payload: UnsafeRawBufferPointer, _ interfaces: Set<Int32>) -> Bool {
    switch Int(header.nlmsg_type) {
    case RTM_NEWLINK, RTM_DELLINK:
      guard payload.count >= MemoryLayout<ifinfomsg>.size else { return false }
      return interfaces.contains(payload.loadUnaligned(as: ifinfomsg.self).ifi_index)
    case RTM_DELADDR, RTM_NEWADDR:
      guard payload.count >= MemoryLayout<ifaddrmsg>.size else { return false }
      return interfaces.contains(Int32(payload.loadUnaligned(as: ifaddrmsg.self).ifa_index))
    case RTM_DELNEIGH:
      guard payload.count >= MemoryLayout<ndmsg>.size else { return false }
      return interfaces.contains(payload.loadUnaligned(as: ndmsg.self).ndm_ifindex)
    case RTM_DELROUTE, RTM_NEWROUTE:
      guard payload.count >= MemoryLayout<rtmsg>.size else { return false }
      let route = payload.loadUnaligned(as: rtmsg.self)
      // Another's new route may be in place of ours.
      return Int(header.nlmsg_type) == RTM_NEWROUTE
        ? Int32(header.nlmsg_flags) & NLM_F_REPLACE != 0 : route.rtm_protocol == RouteMessage.peerProtocol
    default:
      return false
    }
  }
}
