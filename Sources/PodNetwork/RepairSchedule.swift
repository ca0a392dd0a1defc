/// When to compare the kernel with what should be there. Pure: time is passed in, on the clock of `bootTime`.
///
/// Events come in bursts, many of them caused by ourselves: one look a moment later answers all of them, and while
/// somebody takes away again what we put back, the looks become rare.
struct RepairSchedule: Sendable {
  /// What to look at.
  struct Scope: OptionSet, Sendable {
    let rawValue: UInt8
    /// Bridge, addresses, ports, neighbours, forwarding entries, routes, sysctls.
    static let links = Scope(rawValue: 1)
    /// Our tables and other programs' chains.
    static let rules = Scope(rawValue: 2)
    static let all: Scope = [.links, .rules]
  }

  /// From the first event to the look.
  static let delay = Duration.milliseconds(30)
  /// At least between two looks.
  static let gap = Duration.milliseconds(200)
  /// The same while we are contested.
  static let longGap = Duration.seconds(5)
  /// After a look that failed.
  static let retry = Duration.seconds(5)
  /// Without any event: what tells nobody of its change (sysctls) and what we missed.
  static let period = Duration.seconds(60)
  /// So many looks within the window that found something mean that somebody works against us.
  static let tolerance = 20
  static let window = Duration.seconds(30)

  private var scope: Scope = []
  private var dueAt: Duration?
  private var earliest = Duration.zero
  private var nextPeriod: Duration
  /// When looks found something, oldest first; at most `tolerance`.
  private var found: [Duration] = []
  private var isRunning = false

  init(now: Duration) { nextPeriod = now + Self.period }

  /// When `take` is worth calling.
  var deadline: Duration? { isRunning ? nil : min(dueAt ?? nextPeriod, nextPeriod) }

  func isContested(at now: Duration) -> Bool {
    guard found.count == Self.tolerance, let first = found.first else { return false }
    return first + Self.window > now
  }

  /// Something may be missing.
  /// - Returns: true when a look was not planned already.
  @discardableResult
  mutating func doubt(_ more: Scope, at now: Duration) -> Bool {
    scope.formUnion(more)
    guard dueAt == nil else { return false }
    dueAt = max(now + Self.delay, earliest)
    return true
  }

  /// What to look at now; nil: nothing yet. A look that was taken must be `finished`.
  mutating func take(at now: Duration) -> Scope? {
    guard !isRunning else { return nil }
    var due: Scope = []
    if let planned = dueAt, planned <= now {
      due = scope
      scope = []
      dueAt = nil
    }
    if nextPeriod <= now {
      due = .all
      nextPeriod = now + Self.period
    }
    guard !due.isEmpty else { return nil }
    isRunning = true
    return due
  }

  /// - Parameter failed: scope to look at again in `retry`.
  mutating func finished(foundSomething: Bool, failed: Scope = [], at now: Duration) {
    isRunning = false
    if foundSomething {
      found = found.suffix(Self.tolerance - 1) + [now]
    }
    earliest = now + (isContested(at: now) ? Self.longGap : Self.gap)
    if let planned = dueAt, planned < earliest { dueAt = earliest }
    guard !failed.isEmpty else { return }
    scope.formUnion(failed)
    // An event in the meantime may be the very thing that ends the trouble.
    if dueAt == nil { dueAt = now + Self.retry }
  }
}
