internal import CNetlink
internal import Glibc
package import Logging
package import RuntimeModel
internal import Synchronization

extension PodNetwork {
  /// Makes bridge and rules, or takes over those of an earlier daemon, and brings the kernel to what the leases say.
  /// Running it again changes nothing.
  /// - Parameters:
  ///   - liveSandboxes: leases of all sandboxes that are not released; every other link of ours is removed.
  ///   - publishedPorts: host ports of those sandboxes.
  ///   - traffic: what else they asked for.
  ///   - patience: how long an attach may take.
  ///   - logger: gets every sysctl written and everything repaired.
  /// - Throws: what is wrong with the configuration, or stands in the way on this node; nothing new is left behind.
  package static func open(
    _ configuration: NetworkConfiguration, liveSandboxes: [Identifier: AddressLease],
    publishedPorts: [Identifier: [HostPort]] = [:], traffic: [Identifier: TrafficOptions] = [:],
    patience: Duration = .seconds(10), logger: Logger
  ) async throws(NetworkError) -> PodNetwork {
    try configuration.validated()
    let writer = try SerialThread(name: "net-writer")
    do throws(NetworkError) {
      let network = try await writer.run { () throws(NetworkError) in
        try assemble(configuration, liveSandboxes, publishedPorts, traffic, patience, writer, logger)
      }
      try network.startObserver()
      network.refill()
      return network
    } catch {
      writer.stop()
      throw error
    }
  }

  private static func assemble(
    _ configuration: NetworkConfiguration, _ live: [Identifier: AddressLease], _ ports: [Identifier: [HostPort]],
    _ traffic: [Identifier: TrafficOptions], _ patience: Duration, _ writer: SerialThread, _ logger: Logger
  ) throws(NetworkError) -> PodNetwork {
    let routes = try NetlinkSocket(family: NETLINK_ROUTE)
    let link = configuration.backend == .none ? nil : try UnderlayLink.find(configuration.underlay, routes)
    var plan = NetworkPlan(configuration, mtu: try podMTU(configuration, link, routes))
    plan.underlay = link
    let host = try HostSide(plan: plan, routes: routes, logger: logger)
    try host.checkIPv6()
    let isNew = try host.findBridge() == nil
    try host.findOverflow()
    try host.checkRoutes()
    let observer = try Observer(plan: plan)
    let peerWatch = link == nil ? nil : try PeerWatch()
    do throws(NetworkError) {
      var report = NetworkReport()
      report.repairs = try host.ensureBridge(live: Array(live.values))
      try host.applySysctls()
      let finding = try host.reconcile(live: live, removing: true)
      report.removedLinks = finding.removed.filter { $0.alias != LinkAlias.spare }.map(\.name).sorted()
      report.lostSandboxes = finding.lost
      report.repairs += finding.repairs
      try host.removeIdleOverflow(occupied: Set(finding.present.values.map(\.bridge)))
      let limits = try host.reconcileLimits(live: live, present: finding.present.mapValues(\.index), traffic)
      report.repairs += limits.repairs
      let cursor = configuration.stateDirectory.map { CursorFile(directory: $0) }
      var ledger = fill(plan, live, finding, cursor?.read(), &host.rules.filledBlocks)
      for (index, shaper) in limits.shapers { ledger.shaped(index, by: shaper) }
      ledger.claims = claims(ports, live, host)
      ledger.pool.size = configuration.pool
      host.adopt(traffic, live)
      try host.adopt(ledger.claims)
      report.repairs += try host.repairRoutes()
      _ = host.takeSysctlsWritten()
      let chains = try host.forwardChains()
      let forward = try host.adjustForwardChains(chains)
      var watch = NetworkWatch(
        now: bootTime(), port: host.port, settled: Set(finding.present.values.map(\.index)),
        bridges: isNew ? [] : Set(host.bridges.values), forwardChains: chains)
      watch.findings[.forwardDrop] = forward.findings
      for repair in forward.repairs { logger.notice("network", metadata: ["added": "\(repair)"]) }
      watch.findings[.bridgeNetfilter] = host.bridgeNetfilterFindings
      let peerSide = PeerSide(host: host)
      try peerSide.adoptNodes()
      let health = Health(bridges: host.bridges, rules: try host.replaceRules())
      let peers = try peerSide.open()
      log(report, plan, logger)
      for finding in watch.findings.values.flatMap({ $0 }) { logger.warning("network: \(finding.text)") }
      let network = PodNetwork(
        report: report, host: host, peerSide: peerSide, peerWatch: peerWatch, writer: writer, observer: observer,
        ledger: ledger, health: health, watch: watch, cursor: cursor, patience: patience)
      try network.openPeers(peers)
      return network
    } catch {
      if isNew { try? host.removeBridge() }
      throw error
    }
  }

  private static func fill(
    _ plan: NetworkPlan, _ live: [Identifier: AddressLease], _ finding: HostSide.Finding, _ cursor: UInt32?,
    _ blocks: inout Set<UInt32>
  ) -> Ledger {
    let numbers = live.values.compactMap(plan.number(of:))
    let afterHighest = numbers.max().map { $0 + 1 }
    var ledger = Ledger(allocator: AddressAllocator(numbers: plan.hostNumbers, cursor: cursor ?? afterHighest))
    let now = bootTime()
    for number in finding.removed.compactMap({ plan.number(ofInterface: $0.name) }) {
      ledger.allocator.take(number)
      ledger.allocator.release(number)
      ledger.allocator.linkGone(number, at: now)
    }
    for (sandbox, lease) in live {
      let number = plan.number(of: lease)
      if let number {
        ledger.allocator.take(number)
        blocks.insert(number / NetworkPlan.pairBlock)
      }
      ledger.attached(sandbox, lease, number: number, link: finding.present[sandbox])
    }
    return ledger
  }

  /// Records are older than rules: a port that two sandboxes claim goes to one of them, and the log says so.
  private static func claims(
    _ ports: [Identifier: [HostPort]], _ live: [Identifier: AddressLease], _ host: HostSide
  ) -> PortClaims {
    var claims = PortClaims()
    for (sandbox, lease) in live.sorted(by: { $0.key < $1.key }) {
      do throws(NetworkError) {
        try claims.claim(host.published(ports[sandbox] ?? [], lease), for: sandbox)
      } catch {
        host.logger.error(
          "host ports of a running sandbox are not published",
          metadata: ["sandbox": "\(sandbox.short)", "error": "\(error)"])
      }
    }
    return claims
  }

  private static func log(_ report: NetworkReport, _ plan: NetworkPlan, _ logger: Logger) {
    for repair in report.repairs { logger.notice("network repaired", metadata: ["what": "\(repair)"]) }
    for link in report.removedLinks { logger.notice("link of no live sandbox removed", metadata: ["link": "\(link)"]) }
    for sandbox in report.lostSandboxes {
      logger.warning("sandbox has lost its network", metadata: ["sandbox": "\(sandbox.short)"])
    }
    let blocks = plan.podBlocks.map(\.description).joined(separator: ", ")
    logger.info(
      "pod network open", metadata: ["bridge": "\(plan.bridge)", "pod_cidrs": "\(blocks)", "mtu": "\(plan.mtu)"])
  }

  private func startObserver() throws(NetworkError) {
    try observer.start(
      Observer.Owner(
        knownLinks: { [weak self] in self?.ledger.withLock { $0.indexes } ?? [] },
        deadline: { [weak self] in self?.nextDeadline },
        concerns: { [weak self] in self?.concerns($0) ?? false },
        concernsRules: { [weak self] in self?.concerns($0) ?? false },
        report: { [weak self] in self?.received($0) }))
  }

  private var nextDeadline: Duration? {
    let links = ledger.withLock { $0.nextDeadline }
    let look = watch.withLock { $0.schedule.deadline }
    return [links, look].compactMap { $0 }.min()
  }
}
