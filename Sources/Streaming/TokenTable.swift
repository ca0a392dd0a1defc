import RuntimeModel
import Synchronization

/// URLs that nobody has used yet. A token is 128 random bits, and good for one request of its kind within its time.
final class TokenTable: Sendable {
  private struct Entry {
    var target: StreamTarget
    var expires: ContinuousClock.Instant
  }

  private struct State {
    var entries: [String: Entry] = [:]
    /// Forgets entries when their time has passed, whether somebody comes or not: a target holds a container and its
    /// shim's connection. Ends with the last entry.
    var sweeper: Task<Void, Never>?
  }

  private let life: Duration
  private let limit: Int
  private let state = Mutex(State())

  init(life: Duration, limit: Int) {
    self.life = life
    self.limit = limit
  }

  deinit { state.withLock { $0.sweeper?.cancel() } }

  /// - Throws: `resourceExhausted` when too many wait for their clients.
  func issue(_ target: StreamTarget, now: ContinuousClock.Instant = .now) throws(RuntimeError) -> String {
    let token = Self.random()
    let isTaken = state.withLock { state in
      state.entries = state.entries.filter { $0.value.expires > now }
      guard state.entries.count < limit else { return false }
      state.entries[token] = Entry(target: target, expires: now + life)
      if state.sweeper == nil { state.sweeper = sweep() }
      return true
    }
    guard isTaken else {
      throw RuntimeError(.resourceExhausted, "\(limit) streaming requests wait for their clients; try again later")
    }
    return token
  }

  /// - Returns: nil for a token that is unknown, used, too old, or another kind's, which keeps it.
  func redeem(_ token: String, kind: StreamTarget.Kind, now: ContinuousClock.Instant = .now) -> StreamTarget? {
    state.withLock { state in
      guard let entry = state.entries[token], entry.target.kind == kind else { return nil }
      state.entries[token] = nil
      return entry.expires > now ? entry.target : nil
    }
  }

  private func sweep() -> Task<Void, Never> {
    Task { [weak self, life] in
      var due = ContinuousClock.now + life
      while (try? await Task.sleep(until: due, clock: .continuous)) != nil, let next = self?.forget() { due = next }
    }
  }

  /// - Returns: when the next one's time passes; nil when there is none.
  private func forget() -> ContinuousClock.Instant? {
    state.withLock { state in
      let now = ContinuousClock.now
      state.entries = state.entries.filter { $0.value.expires > now }
      let next = state.entries.values.map(\.expires).min()
      if next == nil { state.sweeper = nil }
      return next
    }
  }

  private static func random() -> String {
    var generator = SystemRandomNumberGenerator()
    return (0..<2).map { _ in
      let text = String(generator.next() as UInt64, radix: 16)
      return String(repeating: "0", count: 16 - text.utf8.count) + text
    }
    .joined()
  }
}
