import RuntimeModel
import Synchronization

/// URLs that nobody has used yet. A token is 128 random bits, and good for one request of its kind within its time.
final class TokenTable: Sendable {
  private struct Entry {
    var target: StreamTarget
    var expires: ContinuousClock.Instant
  }

  private let life: Duration
  private let limit: Int
  private let entries = Mutex<[String: Entry]>([:])

  init(life: Duration, limit: Int) {
    self.life = life
    self.limit = limit
  }

  /// - Throws: `resourceExhausted` when too many wait for their clients.
  func issue(_ target: StreamTarget, now: ContinuousClock.Instant = .now) throws(RuntimeError) -> String {
    let token = Self.random()
    let isTaken = entries.withLock { entries in
      if entries.count >= limit { entries = entries.filter { $0.value.expires > now } }
      guard entries.count < limit else { return false }
      entries[token] = Entry(target: target, expires: now + life)
      return true
    }
    guard isTaken else {
      throw RuntimeError(.resourceExhausted, "\(limit) streaming requests wait for their clients; try again later")
    }
    return token
  }

  /// - Returns: nil for a token that is unknown, used, too old, or another kind's, which keeps it.
  func redeem(_ token: String, kind: StreamTarget.Kind, now: ContinuousClock.Instant = .now) -> StreamTarget? {
    entries.withLock { entries in
      guard let entry = entries[token], entry.target.kind == kind else { return nil }
      entries[token] = nil
      return entry.expires > now ? entry.target : nil
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
