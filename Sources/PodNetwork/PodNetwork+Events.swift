internal import Logging
internal import RuntimeModel
internal import Synchronization

/// What the network does by itself: addresses rest when links are gone, links that linger are removed, and what
/// somebody else took away is put back.
extension PodNetwork {
  /// On the observer's thread.
  func received(_ event: Observer.Event) {
    switch event {
    case .linkGone(let index):
      linkGone(index)
      if health.withLock({ $0.bridges.values.contains(index) }) { repairSoon() }
    case .linksAre(let present, let known):
      logger.debug("link events were dropped; read anew")
      for index in known.subtracting(present) { linkGone(index) }
      if health.withLock({ !present.isSuperset(of: $0.bridges.values) }) { repairSoon() }
    case .rulesChanged:
      repairSoon()
    case .deadline:
      reap()
      let now = bootTime()
      let isDue = health.withLock { health in
        guard let retry = health.retryAt, retry <= now else { return false }
        health.retryAt = nil
        return true
      }
      if isDue { repairSoon() }
    }
  }

  private func linkGone(_ index: Int32) {
    let (lost, hasIdleShapers) = ledger.withLock { ($0.linkGone(index, at: bootTime()), $0.hasIdleShapers) }
    refill()
    if hasIdleShapers { removeShapers() }
    guard let lost else { return }
    logger.warning("a sandbox has lost its network", metadata: ["sandbox": "\(lost.short)"])
  }

  /// Links that outlived their sandbox: somebody still holds the namespace.
  private func reap() {
    writer.submit { [weak self] in
      guard let self else { return }
      let overdue = ledger.withLock { $0.overdue(at: bootTime()) }
      guard !overdue.isEmpty else { return }
      do throws(NetworkError) {
        try host.remove(overdue)
      } catch {
        logger.warning("lingering links could not be removed", metadata: ["error": "\(error)"])
      }
      // What was removed is gone now; what was not must not be asked for at once again.
      for index in overdue { linkGone(index) }
    }
  }

  /// Puts back what somebody else took away. A change that was none of ours costs one look.
  private func repairSoon() {
    health.withLock { $0.doubt() }
    writer.submit { [weak self] in self?.repair() }
  }

  /// On the writer's thread.
  private func repair() {
    guard !health.withLock({ $0.isClosed }) else { return }
    do throws(NetworkError) {
      _ = try host.findBridge()
      if health.withLock({ $0.bridges != host.bridges }) {
        dropSpares(forGood: false)
        let live = ledger.withLock { $0.live }
        var repairs = try host.ensureBridge(live: Array(live.values))
        try host.applySysctls()
        let finding = try host.reconcile(live: live)
        repairs += finding.repairs
        ledger.withLock { $0.found(finding.present) }
        for repair in repairs { logger.notice("network repaired", metadata: ["what": "\(repair)"]) }
        health.withLock { $0.now(host.bridges, host.fingerprint) }
      }
      if try !host.hasRules() {
        let rules = try host.replaceRules()
        health.withLock { $0.rules = rules }
        logger.notice("network repaired", metadata: ["what": "nftables rules of \(plan.ruleTable)"])
      }
    } catch {
      logger.error("the pod network could not be repaired", metadata: ["error": "\(error)"])
      health.withLock { $0.retryAt = bootTime() + .seconds(5) }
      observer.wake()
    }
    health.withLock { $0.doubt() }
  }
}
