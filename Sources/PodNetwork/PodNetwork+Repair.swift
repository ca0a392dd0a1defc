internal import Glibc
internal import Logging
internal import RuntimeModel
internal import Synchronization

/// Puts back what somebody else took away. Every look is a difference: the second one in a row changes nothing.
extension PodNetwork {
  /// Asks for a look at everything soon.
  func doubt(_ scope: RepairSchedule.Scope = .all) {
    let isNew = watch.withLock { $0.schedule.doubt(scope, at: bootTime()) }
    if isNew { observer.wake() }
  }

  /// Nothing announces this sysctl's change, so that each attach looks: 10 us against a pod that nobody reaches.
  func checkBridgeNetfilter() {
    if host.isBridgeFiltered != host.port.isFiltered { doubt(.links) }
  }

  func compareSoon(_ scope: RepairSchedule.Scope) {
    let isAccepted = writer.submit { [weak self] in self?.compare(scope) }
    if !isAccepted { watch.withLock { $0.schedule.finished(foundSomething: false, at: bootTime()) } }
  }

  /// On the writer's thread.
  private func compare(_ scope: RepairSchedule.Scope) {
    guard !health.withLock({ $0.isClosed }) else { return }
    tally.withLock { $0.looks += 1 }
    var repairs: [NetworkRepair] = []
    var failed: RepairSchedule.Scope = []
    var failures: [NetworkFinding] = []
    func attempt(
      _ part: RepairSchedule.Scope, _ object: String, _ body: (inout [NetworkRepair]) throws(NetworkError) -> Void
    ) {
      guard scope.contains(part) else { return }
      do throws(NetworkError) {
        try body(&repairs)
      } catch {
        failed.insert(part)
        failures.append(NetworkFinding(.repairFailed, object: object, "\(error)"))
        logger.error("the pod network could not be repaired", metadata: ["error": "\(error)"])
      }
    }
    attempt(.links, plan.bridge, compareLinks)
    attempt(.rules, plan.ruleTable, compareRules)
    for repair in repairs {
      logger.notice("network repaired", metadata: ["kind": "\(repair.kind.rawValue)", "what": "\(repair)"])
    }
    tally.withLock { $0.count(repairs) }
    let contested = watch.withLock { watch in
      let before = watch.schedule.isContested(at: bootTime())
      watch.schedule.finished(foundSomething: !repairs.isEmpty, failed: failed, at: bootTime())
      watch.findings[.repairFailed] = failures
      let after = watch.schedule.isContested(at: bootTime())
      watch.findings[.contested] = after ? [contest(repairs)] : []
      return after && !before
    }
    if contested { logger.warning("network: \(contest(repairs).text)") }
    health.withLock { $0.doubt() }
    observer.wake()
  }

  private func contest(_ repairs: [NetworkRepair]) -> NetworkFinding {
    NetworkFinding(
      .contested, object: plan.bridge,
      "somebody takes away again and again what is put back"
        + (repairs.last.map { ", at last: \($0)" } ?? "") + "; repairs wait up to 5 s now")
  }

  private func compareLinks(_ repairs: inout [NetworkRepair]) throws(NetworkError) {
    let (live, known) = ledger.withLock { ($0.live, $0.indexes) }
    _ = try host.findBridge()
    // Spare pods are as good as none without their bridge.
    if health.withLock({ $0.bridges != host.bridges }) { dropSpares(forGood: false) }
    repairs += try host.ensureBridge(live: Array(live.values))
    health.withLock { $0.now(host.bridges, host.fingerprint) }
    try host.applySysctls()
    // A new bridge has it not.
    if !host.rules.published.isEmpty { try host.allowLoopback() }
    repairs += host.takeSysctlsWritten()
    watch.withLock { $0.port = host.port }
    let finding = try host.reconcile(live: live, removing: false)
    repairs += finding.repairs
    ledger.withLock { $0.found(finding.present) }
    health.withLock { $0.now(host.bridges, host.fingerprint) }
    watch.withLock { $0.settle(Set(finding.present.values.map(\.index)), bridges: Set(host.bridges.values)) }
    // One whose end we were not told of.
    for index in known.subtracting(finding.links) { linkGone(index) }
    repairs += try host.repairRoutes()
    if !repairs.isEmpty { try host.takeNote(of: finding.present.values.map(\.index)) }
    refill()
    let overlap = try host.overlappingRoutes().map { error in
      NetworkFinding(.routeOverlap, object: plan.bridge, "\(error)")
    }
    note([.bridgeNetfilter: host.bridgeNetfilterFindings, .routeOverlap: overlap])
  }

  private func compareRules(_ repairs: inout [NetworkRepair]) throws(NetworkError) {
    if try !host.hasRules() {
      let rules = try host.replaceRules()
      health.withLock { $0.rules = rules }
      repairs.append(NetworkRepair(.rules, "nftables rules of \(plan.ruleTable)"))
    }
    let chains = try host.forwardChains()
    let forward = try host.adjustForwardChains(chains)
    repairs += forward.repairs
    watch.withLock { $0.forwardChains = chains }
    note([.forwardDrop: forward.findings])
  }

  /// Remembers findings, and says those that are new.
  private func note(_ findings: [NetworkFinding.Kind: [NetworkFinding]]) {
    let new = watch.withLock { watch in
      var new: [NetworkFinding] = []
      for (kind, found) in findings {
        new += found.filter { !(watch.findings[kind] ?? []).contains($0) }
        watch.findings[kind] = found
      }
      return new
    }
    for finding in new { logger.warning("network: \(finding.text)") }
  }
}

extension HostSide {
  /// Until the kernel has taken note of a carrier, a second perhaps, it drops what goes out by the link.
  func takeNote(of ports: [Int32]) throws(NetworkError) {
    for part in stride(from: 0, to: ports.count, by: 64) {
      try routes.run { batch throws(NetworkError) in
        for index in ports[part..<min(part + 64, ports.count)] {
          try batch.add("look at", "interface \(index)", tolerating: [ENODEV], RouteMessage.takeNote(index))
        }
      }
    }
    try routes.run { batch throws(NetworkError) in
      for (number, index) in bridges {
        try batch.add("look at", plan.bridgeName(number), RouteMessage.takeNote(index))
      }
    }
  }

  /// What `checkRoutes` refuses at the start; later it can only be told.
  func overlappingRoutes() throws(NetworkError) -> [NetworkError] {
    do throws(NetworkError) {
      try checkRoutes()
      return []
    } catch {
      guard case .routeOverlap = error else { throw error }
      return [error]
    }
  }

  var bridgeNetfilterFindings: [NetworkFinding] {
    guard port.isFiltered else { return [] }
    return [
      NetworkFinding(
        .bridgeNetfilter, object: "net.bridge.bridge-nf-call-iptables",
        "bridge-nf-call is 1 and kept: ports of \(plan.bridge) are not isolated from each other, and loop back")
    ]
  }
}
