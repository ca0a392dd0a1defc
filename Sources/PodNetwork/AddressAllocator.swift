/// Which host numbers are free: round robin, so that an address rests as long as possible, and a rest of 30 s after its
/// link is gone. Pure: time is passed in.
struct AddressAllocator: Sendable {
  /// What holds a number that is not free.
  enum Holding: Sendable, Equatable {
    case used
    /// The sandbox is gone, its link is not yet.
    case releasing
    /// Nothing holds it, but peers may still remember it.
    case resting(until: Duration)
  }

  static let rest = Duration.seconds(30)

  let numbers: ClosedRange<UInt32>
  private(set) var holdings: [UInt32: Holding] = [:]
  /// Where the next search starts.
  private(set) var cursor: UInt32

  init(numbers: ClosedRange<UInt32>, cursor: UInt32? = nil) {
    self.numbers = numbers
    self.cursor = cursor.flatMap { numbers.contains($0) ? $0 : nil } ?? numbers.lowerBound
  }

  /// Numbers that `reserve` would not give.
  func held(at now: Duration) -> Int { used + resting(at: now) }

  var used: Int { holdings.values.count { if case .resting = $0 { false } else { true } } }

  func resting(at now: Duration) -> Int {
    holdings.values.count { if case .resting(let until) = $0 { until > now } else { false } }
  }

  /// - Parameter now: on the clock that goes on in suspend (CLOCK_BOOTTIME).
  /// - Returns: nil when every number is held.
  mutating func reserve(at now: Duration) -> UInt32? {
    var candidate = cursor
    for _ in 0..<numbers.count {
      let next = candidate == numbers.upperBound ? numbers.lowerBound : candidate + 1
      if isFree(candidate, at: now) {
        holdings[candidate] = .used
        cursor = next
        return candidate
      }
      candidate = next
    }
    return nil
  }

  /// A lease that was there before us. The search goes on above it.
  mutating func take(_ number: UInt32) { holdings[number] = .used }

  /// The sandbox gave it back, its link may still be there. Only a used number changes.
  mutating func release(_ number: UInt32) {
    if holdings[number] == .used { holdings[number] = .releasing }
  }

  /// No link of it is left. A number that is still used stays so: its sandbox has lost its network, but has the lease.
  mutating func linkGone(_ number: UInt32, at now: Duration) {
    if holdings[number] == .releasing { holdings[number] = .resting(until: now + Self.rest) }
  }

  private mutating func isFree(_ number: UInt32, at now: Duration) -> Bool {
    switch holdings[number] {
    case nil: return true
    case .used, .releasing: return false
    case .resting(let until):
      guard until <= now else { return false }
      holdings[number] = nil
      return true
    }
  }
}
