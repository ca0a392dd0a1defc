import Synchronization

/// Memory for what clients send to where nobody reads, beyond what each stream may hold: for all connections together.
final class Reserve: Sendable {
  /// Bytes that one stream gets: as much as the kernel takes from a client that then gives up (tcp_wmem).
  static let share = 4 << 20

  private let left: Atomic<Int>

  /// - Parameter shares: how many streams may have one.
  init(shares: Int) { left = Atomic(shares) }

  /// One share, until it is let go; nil when there is none.
  func take() -> Lease? {
    guard left.subtract(1, ordering: .relaxed).newValue >= 0 else {
      left.add(1, ordering: .relaxed)
      return nil
    }
    return Lease(self)
  }

  final class Lease: Sendable {
    private let reserve: Reserve

    fileprivate init(_ reserve: Reserve) { self.reserve = reserve }

    deinit { reserve.left.add(1, ordering: .relaxed) }
  }
}
