/// A namespace with its pair that waits for a sandbox. It is done but for what names the sandbox, and silent: its port
/// is locked, and without a forwarding entry no frame passes either way.
struct SparePod: Sendable {
  var number: UInt32
  var link: PodLink
  /// How its port was set.
  var port: BridgePort
  /// nil in tests of the bookkeeping.
  var namespace: NamespaceMaker.Namespace?
}

/// The warm pool (NETWORK.md D12). A spare pod's MAC follows from its address, so it holds a host number, and a sandbox
/// that gets it gets that number: `reserve` takes from here first.
struct WarmPool: Sendable {
  /// How many are to be ready; 0: off.
  var size = 0
  /// Oldest first, so that addresses go round.
  var ready: [SparePod] = []
  /// Reserved and not yet attached, by host number.
  var taken: [UInt32: SparePod] = [:]
  /// Given up: the host number rests once the link with this index is gone.
  var dropped: [Int32: (spare: PodLink, number: UInt32, at: Duration)] = [:]
  /// One is being made.
  var isFilling = false
  /// Its host number, unless a sandbox needed that: it was the last.
  var making: UInt32?
  /// Attaches on their way, which have the kernel to themselves.
  var attaching = 0
}

extension Ledger {
  /// The next host number, of a spare pod where one is ready.
  mutating func reserve(at now: Duration) -> UInt32? {
    guard !pool.ready.isEmpty else {
      if let number = allocator.reserve(at: now) { return number }
      defer { pool.making = nil }
      return pool.making
    }
    let spare = pool.ready.removeFirst()
    pool.taken[spare.number] = spare
    return spare.number
  }

  /// Begins an attach.
  /// - Returns: what waits for it; the caller owns it from here on.
  mutating func takeSpare(_ number: UInt32) -> SparePod? {
    pool.attaching += 1
    guard let spare = pool.taken.removeValue(forKey: number) else { return nil }
    count(spare.link, -1)
    return spare
  }

  /// Whether another one is worth making now: not beside an attach, and not with the last tenth of the addresses.
  func wantsSpare(at now: Duration) -> Bool {
    guard pool.size > pool.ready.count, !pool.isFilling, pool.attaching == 0 else { return false }
    return (allocator.numbers.count - allocator.held(at: now)) * 10 >= allocator.numbers.count
  }

  mutating func beginSpare(at now: Duration) -> UInt32? {
    guard wantsSpare(at: now), let number = allocator.reserve(at: now) else { return nil }
    pool.isFilling = true
    pool.making = number
    return number
  }

  /// - Parameters:
  ///   - link: nil where nothing was made.
  ///   - spare: nil where it failed.
  mutating func endSpare(_ number: UInt32, link: PodLink?, _ spare: SparePod?, at now: Duration) {
    pool.isFilling = false
    // One whose number went to a sandbox meanwhile goes with its namespace.
    guard pool.making == number else { return }
    pool.making = nil
    guard let link else { return free(number, at: now) }
    count(link, 1)
    if let spare, pool.size > 0 { pool.ready.append(spare) } else { drop(number, link, at: now) }
  }

  /// Gives all up that no attach waits for.
  mutating func dropSpares(at now: Duration) {
    for spare in pool.ready { drop(spare.number, spare.link, at: now) }
    pool.ready = []
  }

  /// What `takeSpare` gave is of no use: its number goes to a pair that is made anew, its link with its namespace.
  mutating func spareFailed(_ lease: String) { put(nil, at: lease) }

  mutating func drop(_ number: UInt32, _ link: PodLink, at now: Duration) {
    allocator.release(number)
    pool.dropped[link.index] = (link, number, now)
  }

  /// - Returns: whether it was a link of the pool.
  mutating func spareLinkGone(_ index: Int32, at now: Duration) -> Bool {
    if let position = pool.ready.firstIndex(where: { $0.link.index == index }) {
      let spare = pool.ready.remove(at: position)
      count(spare.link, -1)
      free(spare.number, at: now)
    } else if let spare = pool.taken.values.first(where: { $0.link.index == index }) {
      // Its number is already a sandbox's.
      pool.taken[spare.number] = nil
      count(spare.link, -1)
    } else if let (link, number, _) = pool.dropped.removeValue(forKey: index) {
      count(link, -1)
      allocator.linkGone(number, at: now)
    } else {
      return false
    }
    return true
  }

  var spareIndexes: [Int32] {
    pool.ready.map(\.link.index) + pool.taken.values.map(\.link.index) + pool.dropped.keys
  }
}
