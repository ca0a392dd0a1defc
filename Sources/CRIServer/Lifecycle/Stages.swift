import RuntimeModel
import Synchronization

/// Where a long operation stands and how long each of its stages took: for its log line, and for the error that a
/// retry gets when it waits too long.
final class Stages: Sendable {
  private struct State {
    var current = "begin"
    var since: ContinuousClock.Instant
    var done: [(name: String, duration: Duration)] = []
  }

  private let start: ContinuousClock.Instant
  private let state: Mutex<State>

  init() {
    let now = ContinuousClock.now
    start = now
    state = Mutex(State(since: now))
  }

  /// Ends the stage that was running and begins `name`.
  func begin(_ name: String) {
    let now = ContinuousClock.now
    state.withLock { state in
      state.done.append((state.current, now - state.since))
      state.current = name
      state.since = now
    }
  }

  /// The running stage and for how long, e.g. `attach network for 12 s`.
  var current: String {
    state.withLock { "\($0.current) for \(Self.text(ContinuousClock.now - $0.since))" }
  }

  /// `begin 0.1 ms, attach network 1.9 ms, …, in all 4.2 ms`.
  var summary: String {
    state.withLock { state in
      let parts = state.done + [(state.current, ContinuousClock.now - state.since)]
      let total = Self.text(ContinuousClock.now - start)
      return parts.map { "\($0.name) \(Self.text($0.duration))" }.joined(separator: ", ") + ", in all \(total)"
    }
  }

  private static func text(_ duration: Duration) -> String {
    let microseconds =
      duration.components.seconds * 1_000_000 + duration.components.attoseconds / 1_000_000_000_000
    if microseconds < 10_000 { return "\(microseconds / 1000).\(microseconds / 100 % 10) ms" }
    return microseconds < 10_000_000 ? "\(microseconds / 1000) ms" : "\(microseconds / 1_000_000) s"
  }
}
