internal import CNetlink
internal import Glibc
internal import RuntimeModel
internal import Synchronization

/// Listens to what the kernel tells about links, addresses, neighbours, routes and rules, and answers whether the network
/// is as it should be. It only reads; what has to be written it hands to its owner.
final class Observer: @unchecked Sendable {
  // The guard: everything but `jobs` and `signal`, which synchronize themselves, is touched by its one thread only,
  // and by `open` before that thread starts.
  enum Event: Sendable {
    case linkGone(Int32)
    /// The kernel dropped messages; these links are there.
    case linksAre(Set<Int32>, known: Set<Int32>)
    /// What the owner wants may not be there any more.
    case doubt(RepairSchedule.Scope)
    /// The kernel dropped messages (ENOBUFS): anything may have changed.
    case dropped(RepairSchedule.Scope)
    /// The moment that `deadline` named has come.
    case deadline
  }

  /// What is asked and told, all on the observer's thread.
  struct Owner: Sendable {
    /// Asked before a dump, so that a link made meanwhile is not taken for gone.
    var knownLinks: @Sendable () -> Set<Int32>
    /// When to send `deadline`, on the clock of `bootTime`.
    var deadline: @Sendable () -> Duration?
    /// Whether a change is a reason to look at what is wanted.
    var concerns: @Sendable (KernelChange) -> Bool
    var concernsRules: @Sendable (RuleChange) -> Bool
    var report: @Sendable (Event) -> Void
  }

  private let plan: NetworkPlan
  private let events: NetlinkSocket
  private let ruleEvents: NetlinkSocket
  private let routes: NetlinkSocket
  private let netfilter: NetlinkSocket
  private let signal = Signal()
  private let jobs = Mutex<(pending: [@Sendable (Observer) -> Void], isStopped: Bool)>(([], false))

  /// Subscribes at once, so that nothing that happens from here on is missed.
  init(plan: NetworkPlan) throws(NetworkError) {
    self.plan = plan
    // Room for the removal of 1000 pods at once.
    let groups = [
      RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
    ]
    events = try NetlinkSocket(
      family: NETLINK_ROUTE, groups: groups.map { UInt32($0.rawValue) }, receiveBuffer: 8 << 20)
    ruleEvents = try NetlinkSocket(family: NETLINK_NETFILTER, groups: [UInt32(NFNLGRP_NFTABLES.rawValue)])
    routes = try NetlinkSocket(family: NETLINK_ROUTE)
    netfilter = try NetlinkSocket(family: NETLINK_NETFILTER)
  }

  func start(_ owner: Owner) throws(NetworkError) {
    try startNetworkThread(named: "net-observer") { [self] in serve(owner) }
  }

  /// Looks anew at the deadline.
  func wake() { signal.raise() }

  func stop() {
    jobs.withLock { $0.isStopped = true }
    signal.raise()
  }

  /// What is wrong with the network right now; nil after `stop`.
  func check(bridge: Int32, rules: RuleFingerprint) async -> NetworkReadiness? {
    await withCheckedContinuation { continuation in
      let isAccepted = jobs.withLock { jobs in
        guard !jobs.isStopped else { return false }
        jobs.pending.append { continuation.resume(returning: $0.readiness(bridge: bridge, rules: rules)) }
        return true
      }
      if isAccepted { signal.raise() } else { continuation.resume(returning: nil) }
    }
  }

  // MARK: the thread

  private func serve(_ owner: Owner) {
    while true {
      let pending = jobs.withLock { jobs in
        defer { jobs.pending = [] }
        return jobs
      }
      for job in pending.pending { job(self) }
      if pending.isStopped { return }
      var waiting = [events.raw, ruleEvents.raw, signal.raw].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
      let deadline = owner.deadline()
      poll(&waiting, nfds_t(waiting.count), deadline.map { milliseconds(until: $0) } ?? -1)
      // Also while events come without end.
      if let deadline, deadline <= bootTime() { owner.report(.deadline) }
      if waiting[2].revents != 0 { signal.clear() }
      if waiting[0].revents != 0 { readEvents(owner) }
      if waiting[1].revents != 0 { readRuleEvents(owner) }
    }
  }

  private func readEvents(_ owner: Owner) {
    var isDoubtful = false
    let isComplete = events.drain { header, payload in
      guard let change = KernelChange(header.nlmsg_type, payload) else { return }
      if case .link(let link, isGone: true) = change { owner.report(.linkGone(link.index)) }
      // Asked for each, since the owner remembers what it has seen.
      if owner.concerns(change) { isDoubtful = true }
    }
    if isDoubtful { owner.report(.doubt(.links)) }
    guard !isComplete else { return }
    owner.report(.dropped(.links))
    let known = owner.knownLinks()
    // A failed dump is tried again at the next event or deadline; nothing is declared gone on its account.
    guard let links = try? routes.links() else { return }
    owner.report(.linksAre(Set(links.map(\.index)), known: known))
  }

  private func readRuleEvents(_ owner: Owner) {
    var isDoubtful = false
    let isComplete = ruleEvents.drain { header, payload in
      if let change = RuleChange(header.nlmsg_type, payload), owner.concernsRules(change) { isDoubtful = true }
    }
    if isDoubtful { owner.report(.doubt(.rules)) }
    if !isComplete { owner.report(.dropped(.rules)) }
  }

  private func readiness(bridge: Int32, rules: RuleFingerprint) -> NetworkReadiness {
    let name = plan.bridge
    do throws(NetworkError) {
      guard let link = try routes.link(named: name), link.index == bridge else {
        return .notReady(reason: "BridgeMissing", message: "bridge \(name) is gone")
      }
      guard link.isUp else { return .notReady(reason: "BridgeDown", message: "bridge \(name) is down") }
      let present = try routes.addresses(of: bridge).map(\.address)
      for (address, prefix) in plan.bridgeAddresses where !present.contains(address) {
        return .notReady(
          reason: "BridgeAddressMissing", message: "bridge \(name) has lost its address \(address)/\(prefix)")
      }
      guard try RuleFingerprint(plan, netfilter) == rules else {
        return .notReady(reason: "RulesMissing", message: "nftables rules of \(plan.ruleTable) were changed or removed")
      }
    } catch {
      return .notReady(reason: "NetlinkFailed", message: "\(error)")
    }
    for sysctl in plan.forwardingSysctls where Sysctl.read(sysctl) != "1" {
      return .notReady(reason: "ForwardingOff", message: "\(Sysctl.path(sysctl)) is not 1")
    }
    return .ready
  }

  private func milliseconds(until deadline: Duration) -> Int32 {
    let left = max(.zero, deadline - bootTime()).components
    return Int32(clamping: left.seconds * 1000 + left.attoseconds / 1_000_000_000_000_000 + 1)
  }
}

extension NetworkPlan {
  /// Without these no pod reaches anything but the node.
  var forwardingSysctls: [String] {
    (ipv4 == nil ? [] : ["ipv4/ip_forward"]) + (ipv6 == nil ? [] : ["ipv6/conf/all/forwarding"])
  }
}
