import LinuxSystem
import RuntimeModel
import Synchronization

/// What was read of a group's processor time before, for the rate that only two readings give. Each client's question is
/// a reading; nothing is read in between.
final class ProcessorHistory: Sendable {
  private struct Reading {
    var nanoseconds: UInt64
    var at: ContinuousClock.Instant
  }

  private struct State {
    var base: Reading?
    var last: Reading?
  }

  /// Readings closer together make no base for each other: two clients would see each other's noise.
  private static let shortest = Duration.seconds(1)
  /// What is older says nothing about now.
  private static let longest = Duration.seconds(120)

  private let state = Mutex(State())

  /// - Parameter nanoseconds: the group's processor time now.
  /// - Returns: billionths of a processor since an earlier reading; nil without one, or when the time went back.
  func rate(_ nanoseconds: UInt64, at now: ContinuousClock.Instant = .now) -> UInt64? {
    let base: Reading? = state.withLock { state in
      let reading = Reading(nanoseconds: nanoseconds, at: now)
      guard let last = state.last, last.nanoseconds <= nanoseconds, now - last.at <= Self.longest else {
        state = State(base: nil, last: reading)
        return nil
      }
      if now - last.at >= Self.shortest {
        state = State(base: last, last: reading)
      }
      return state.base
    }
    guard let base, base.nanoseconds <= nanoseconds else { return nil }
    let elapsed = (now - base.at).wholeNanoseconds
    guard elapsed > 0 else { return nil }
    return UInt64(Double(nanoseconds - base.nanoseconds) * 1e9 / Double(elapsed))
  }
}

/// What a container's writable layer takes, counted now and then. The first count is a short one, by whoever asks first;
/// later ones, and that of a large layer, run beside the requests and answer the next.
final class WritableLayer: Sendable {
  struct Measured: Sendable {
    var usage: TreeUsage
    /// Wall clock, nanoseconds.
    var timestamp: Int64
  }

  private struct State {
    var measured: Measured?
    var due: ContinuousClock.Instant = .now
    var isBusy = false
    /// Counted after the container's end: nothing changes any more.
    var isFinal = false
  }

  /// As containerd's; a count that takes long comes more rarely.
  private static let interval = Duration.seconds(10)
  private static let share = 20

  private let state = Mutex(State())

  /// Blocks its thread for some milliseconds at most.
  /// - Parameters:
  ///   - path: of the upper directory.
  ///   - hasEnded: the container's.
  ///   - later: where a whole count runs.
  /// - Returns: nil as long as a large layer was not counted yet.
  func current(_ path: String, hasEnded: Bool, later: BlockingPool) -> Measured? {
    let (isFirst, isDue) = state.withLock { state in
      guard !state.isBusy, !state.isFinal, state.due <= .now else { return (false, false) }
      state.isBusy = true
      return (state.measured == nil, true)
    }
    guard isDue else { return state.withLock { $0.measured } }
    if isFirst, let short = count(path, limit: 256, time: .milliseconds(20)), short.usage.isComplete {
      return settle(short, took: .zero, hasEnded: hasEnded)
    }
    Task { [self] in
      let begun = ContinuousClock.now
      let measured = try? await later.run { [self] in count(path, limit: 2_000_000, time: .seconds(10)) }
      _ = settle(measured ?? nil, took: .now - begun, hasEnded: hasEnded)
    }
    return state.withLock { $0.measured }
  }

  private func count(_ path: String, limit: Int, time: Duration) -> Measured? {
    let timestamp = WallClock.now()
    guard let root = try? RootHandle.open(path: path),
      let usage = try? root.measure(limit: limit, deadline: .now + time)
    else { return nil }
    return Measured(usage: usage, timestamp: timestamp)
  }

  private func settle(_ measured: Measured?, took: Duration, hasEnded: Bool) -> Measured? {
    state.withLock { state in
      state.isBusy = false
      state.due = .now + max(Self.interval, took * Self.share)
      if let measured {
        state.measured = measured
        state.isFinal = hasEnded
      }
      return state.measured
    }
  }
}
