import Synchronization

/// Bytes of output that the commands of all ExecSync calls under way may bring back together: a shim bounds its pod's,
/// and pods are many (ATTACKS D01). A few commands have what the CRI grants; a crowd shares, and what is cut was
/// more than anybody's probe says.
final class OutputBudget: Sendable {
  /// Of one command: two streams that fit into a client's 16 MiB with what is around them.
  static let most = (16 << 20) - (64 << 10)
  /// What every command gets, however many there are.
  static let least = 1 << 20
  private static let whole = 64 << 20

  private let free = Mutex(OutputBudget.whole)

  /// - Returns: how many bytes a command may bring back; to be given back as they are.
  func take() -> Int {
    free.withLock { free in
      let taken = max(min(free, Self.most), Self.least)
      free -= taken
      return taken
    }
  }

  func giveBack(_ taken: Int) { free.withLock { $0 += taken } }
}
