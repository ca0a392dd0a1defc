internal import Logging
package import RuntimeModel
internal import Synchronization

/// The other nodes of the cluster.
extension PodNetwork {
  /// Says who the other nodes are, and brings the kernel to it: each is reached as its record and ours agree. Calling
  /// it again with the same changes nothing; what somebody else takes away later is put back.
  /// - Parameters:
  ///   - records: of the whole cluster; this node's own is left out.
  ///   - own: this node's name.
  /// - Returns: how each is reached, or why not. Trouble with one does not concern the others, and is tried again.
  /// - Throws: when nothing could be done.
  package func setPeers(_ records: [NodeRecord], own: String) async throws(NetworkError) -> [PeerState] {
    let states = try await writer.run { [self] () throws(NetworkError) in
      do throws(NetworkError) {
        noted(try peerSide.set(records, own: own), isRepair: false)
      } catch {
        peerHealth.withLock { $0.isFailing = true }
        peerWatch?.wake()
        throw error
      }
      return peerSide.plan.states
    }
    return states
  }

  /// How the other nodes are reached, as of the last look.
  package var peers: [PeerState] { peerHealth.withLock { $0.states } }

  /// On the writer's thread, before anybody has the network.
  func openPeers(_ outcome: PeerSide.Outcome) throws(NetworkError) {
    noted(outcome, isRepair: true)
    guard let peerWatch, let underlay = plan.underlay else { return }
    try peerWatch.start(
      interest: { [weak self] in
        guard let self, !health.withLock({ $0.isClosed }) else { return nil }
        let known = peerHealth.withLock { $0 }
        return .init(interfaces: known.interfaces.union([underlay.interface]), isFailing: known.isFailing)
      },
      { [weak self] in self?.comparePeersSoon() })
  }

  private func comparePeersSoon() {
    // One look answers for everything that happened before it.
    guard peerHealth.withLock({ $0.beginLook() }) else { return }
    writer.submit { [weak self] in
      guard let self else { return }
      peerHealth.withLock { $0.isLookDue = false }
      guard !health.withLock({ $0.isClosed }) else { return }
      do throws(NetworkError) {
        noted(try peerSide.compare(), isRepair: true)
      } catch {
        logger.error("routes to other nodes could not be repaired", metadata: ["error": "\(error)"])
        peerHealth.withLock { $0.isFailing = true }
        peerWatch?.wake()
      }
    }
  }

  private func noted(_ outcome: PeerSide.Outcome, isRepair: Bool) {
    let states = peerSide.plan.states
    let before = peerHealth.withLock { health in
      defer {
        health.states = states
        health.interfaces = Set([peerSide.tunnel].compactMap { $0 })
        health.isFailing = !outcome.failures.isEmpty
        health.failures = outcome.failures
      }
      return health
    }
    if isRepair && !outcome.changes.isEmpty {
      tally.withLock { $0.repairs[.peer, default: 0] += outcome.changes.count }
    }
    for change in outcome.changes {
      if isRepair {
        logger.notice("network repaired", metadata: ["what": "\(change)"])
      } else {
        logger.info("peers", metadata: ["what": "\(change)"])
      }
    }
    for failure in outcome.failures where !before.failures.contains(failure) {
      logger.error("a peer is not reached", metadata: ["error": "\(failure)"])
    }
    let known = Dictionary(before.states.map { ($0.record.name, $0.refusal) }, uniquingKeysWith: { $1 })
    for state in states {
      guard let refusal = state.refusal, known[state.record.name] != refusal else { continue }
      logger.error("a peer is refused", metadata: ["node": "\(state.record.name)", "reason": "\(refusal)"])
    }
    if before.isFailing != !outcome.failures.isEmpty || before.interfaces.first != peerSide.tunnel {
      peerWatch?.wake()
    }
  }
}

/// What is known about peers outside of the writer's thread.
struct PeerHealth: Sendable {
  var states: [PeerState] = []
  var failures: [String] = []
  /// The tunnel's.
  var interfaces: Set<Int32> = []
  var isFailing = false
  var isLookDue = false

  /// - Returns: false when a look is already due.
  mutating func beginLook() -> Bool {
    defer { isLookDue = true }
    return !isLookDue
  }
}
