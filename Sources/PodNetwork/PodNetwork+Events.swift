internal import LinuxSystem
internal import Logging
internal import RuntimeModel
internal import Synchronization

/// What the network does by itself: addresses rest when links are gone, and links that linger are removed.
extension PodNetwork {
  /// On the observer's thread.
  func received(_ event: Observer.Event) {
    switch event {
    case .linkGone(let index):
      linkGone(index)
    case .linksAre(let present, let known):
      for index in known.subtracting(present) { linkGone(index) }
    case .doubt(let scope):
      health.withLock { $0.doubt() }
      watch.withLock { _ = $0.schedule.doubt(scope, at: bootTime()) }
    case .dropped(let scope):
      logger.debug("kernel events were dropped; everything is looked at")
      tally.withLock { $0.droppedEvents += 1 }
      health.withLock { $0.doubt() }
      watch.withLock { _ = $0.schedule.doubt(scope, at: bootTime()) }
    case .deadline:
      reap()
      if let scope = watch.withLock({ $0.schedule.take(at: bootTime()) }) { compareSoon(scope) }
    }
  }

  func linkGone(_ index: Int32) {
    if ledger.withLock({ $0.indexes.contains(index) }) { Failpoint.detachLinkGone.reach() }
    let (lost, hasIdleShapers) = ledger.withLock { ($0.linkGone(index, at: bootTime()), $0.hasIdleShapers) }
    refill()
    if hasIdleShapers { removeShapers() }
    guard let lost else { return }
    logger.warning("a sandbox has lost its network", metadata: ["sandbox": "\(lost.short)"])
    tally.withLock { $0.lost += 1 }
    lossSink.yield(NetworkLoss(sandbox: lost, reason: "its network interface is gone"))
  }

  /// Links that outlived their sandbox: somebody still holds the namespace.
  private func reap() {
    let overdue = ledger.withLock { $0.overdue(at: bootTime()) }
    guard !overdue.isEmpty else { return }
    // Until the writer comes to it they are nobody's business.
    ledger.withLock { $0.postpone(overdue, at: bootTime()) }
    writer.submit { [weak self] in
      guard let self else { return }
      do throws(NetworkError) {
        try host.remove(overdue)
      } catch {
        logger.warning("lingering links could not be removed", metadata: ["error": "\(error)"])
      }
      // What was removed is gone now; what was not must not be asked for at once again.
      for index in overdue { linkGone(index) }
    }
  }
}
