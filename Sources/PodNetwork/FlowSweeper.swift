internal import CNetlink
internal import Glibc
internal import Logging
internal import RuntimeModel
internal import Synchronization

/// Forgets tracked connections that a host port's coming or going has made wrong: their packets never see the rules
/// again. On a thread of its own, since one walk of the kernel's table takes as long as ten attaches; what is asked for
/// meanwhile goes into the next walk together.
final class FlowSweeper: Sendable {
  private struct Pending {
    /// Published by now. Datagrams' flows to the node that are older must find the pod (Kubernetes #59286); a stream's
    /// would have had a listener, which `reserve` looks for.
    var fresh: Set<PublishedPort> = []
    /// Withdrawn: datagrams would not find the successor (containernetworking/plugins #1277), and a client that uses an
    /// old port number again would wait in vain.
    var gone: Set<PublishedPort> = []
    /// What an earlier daemon published, at the start: flows to pods by way of other ports are leftovers.
    var published: Set<PublishedPort>?
    /// Whether a walk for streams is to come.
    var isWaiting = false
  }

  /// How long streams' flows wait for others: their clients have lost a connection in any case, and a walk in the
  /// kernel holds up whoever needs a grace period meanwhile.
  private static let patience = Duration.seconds(1)

  private let plan: NetworkPlan
  private let logger: Logger
  private let routes: NetlinkSocket
  private let netfilter: NetlinkSocket
  private let thread: SerialThread
  private let pending = Mutex(Pending())
  /// What is published, or about to be: a walk takes a while, and a flow may be younger than it.
  private let live = Mutex(Set<PublishedPort>())

  init(plan: NetworkPlan, logger: Logger) throws(NetworkError) {
    self.plan = plan
    self.logger = logger
    routes = try NetlinkSocket(family: NETLINK_ROUTE)
    netfilter = try NetlinkSocket(family: NETLINK_NETFILTER)
    thread = try SerialThread(name: "net-flows")
  }

  deinit { thread.stop() }

  /// Lets the thread end once what was asked before is done.
  func stop() { thread.stop() }

  /// To be called before the rules have them: flows to them are no leftovers from then on.
  func expect(_ ports: Set<PublishedPort>) { live.withLock { $0.formUnion(ports) } }

  func appeared(_ ports: Set<PublishedPort>) {
    let datagrams = ports.filter { $0.transport != .tcp }
    guard !datagrams.isEmpty else { return }
    pending.withLock {
      $0.fresh.formUnion(datagrams)
      $0.gone.subtract(datagrams)
    }
    walk()
  }

  func disappeared(_ ports: Set<PublishedPort>) {
    guard !ports.isEmpty else { return }
    live.withLock { $0.subtract(ports) }
    let mustWait = pending.withLock { pending in
      pending.gone.formUnion(ports)
      pending.fresh.subtract(ports)
      defer { pending.isWaiting = true }
      return !pending.isWaiting
    }
    guard ports.allSatisfy({ $0.transport == .tcp }) else { return walk() }
    guard mustWait else { return }
    Task { [weak self] in
      try? await Task.sleep(for: Self.patience)
      self?.walk()
    }
  }

  /// A daemon has begun: what an earlier one did not get to.
  func reconcile(published: [PublishedPort]) {
    expect(Set(published))
    pending.withLock { $0.published = Set(published) }
    walk()
  }

  /// Returns when everything that was asked before is done, without waiting for more.
  func settled() async throws(NetworkError) { try await thread.run { [self] () throws(NetworkError) in sweep() } }

  private func walk() { thread.submit { [weak self] in self?.sweep() } }

  /// On the thread: all that is pending.
  private func sweep() {
    let work = pending.withLock { pending in
      defer { pending = Pending() }
      return pending
    }
    do throws(NetworkError) {
      try sweep(work)
    } catch {
      logger.warning("old flows to host ports could not be forgotten", metadata: ["error": "\(error)"])
    }
  }

  private func sweep(_ work: Pending) throws(NetworkError) {
    let named = work.fresh.union(work.gone)
    guard !named.isEmpty || work.published != nil else { return }
    guard Sysctl.read("netfilter/nf_conntrack_count") != "0" else { return }
    let local = work.fresh.isEmpty && work.published == nil ? [] : try routes.addresses()
    for family in plan.podBlocks.map(\.family) {
      let ports = Set(named.filter { $0.podAddress.family == family }.map { Key($0) })
      if ports.isEmpty && work.published == nil { continue }
      let only = ports.count == 1 && work.published == nil ? ports.first : nil
      let count = try netfilter.forgetConnections(family, to: only.map { ($0.transport, $0.port) }) { flow in
        isWrong(flow, work, local)
      }
      if count > 0 { logger.debug("flows forgotten", metadata: ["count": "\(count)"]) }
    }
  }

  private struct Key: Hashable {
    var transport: HostPort.TransportProtocol
    var port: UInt16

    init(_ port: PublishedPort) {
      transport = port.transport
      self.port = port.hostPort
    }
  }

  private func isWrong(_ flow: Flow, _ work: Pending, _ local: Set<IPAddress>) -> Bool {
    let isLive = live.withLock { $0.contains { leads(flow, by: $0) } }
    if !isLive, work.gone.contains(where: { leads(flow, by: $0) }) { return true }
    if work.fresh.contains(where: { isOlder(flow, than: $0, local) }) { return true }
    guard let published = work.published else { return false }
    if published.contains(where: { $0.transport != .tcp && isOlder(flow, than: $0, local) }) { return true }
    // Translated, to one of our pods, and no port says so any more.
    return !isLive && local.contains(flow.destination) && flow.answeringAddress != flow.destination
      && plan.podBlocks.contains { $0.contains(flow.answeringAddress) }
  }

  private func leads(_ flow: Flow, by port: PublishedPort) -> Bool {
    flow.transport == port.transport && flow.destinationPort == port.hostPort
      && flow.answeringAddress == port.podAddress && flow.answeringPort == port.podPort
  }

  /// Flows through the node to another's port of the same number are none of ours.
  private func isOlder(_ flow: Flow, than port: PublishedPort, _ local: Set<IPAddress>) -> Bool {
    flow.transport == port.transport && flow.destinationPort == port.hostPort
      && flow.destination.family == port.podAddress.family
      && (port.hostAddress.map { $0 == flow.destination } ?? local.contains(flow.destination))
      && !leads(flow, by: port)
  }
}
