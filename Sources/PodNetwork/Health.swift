/// What we last knew about the network's state.
struct Health: Sendable {
  /// Interface indexes of our bridges by number.
  var bridges: [Int: Int32]
  var rules: RuleFingerprint
  var known: (readiness: NetworkReadiness, at: ContinuousClock.Instant)?
  /// Grows with every event that makes `known` doubtful.
  var epoch = 0
  /// From here on nothing is repaired.
  var isClosed = false

  var bridge: Int32 { bridges[0] ?? 0 }

  /// What was made just now.
  mutating func now(_ bridges: [Int: Int32], _ rules: RuleFingerprint?) {
    self.bridges = bridges
    if let rules { self.rules = rules }
    doubt()
  }

  mutating func doubt() {
    epoch += 1
    known = nil
  }
}
