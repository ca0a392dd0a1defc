import CLinux

/// A block of malloc's that grows.
struct ByteBlock: ~Copyable {
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private(set) var count = 0

  deinit {
    free(base)
  }

  /// False without memory.
  mutating func append(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if count + bytes.count > capacity {
      // Exact at first: most commands say little.
      let wanted = capacity == 0 ? bytes.count : max(count + bytes.count, capacity * 2)
      guard let grown = realloc(base, wanted) else { return false }
      base = grown
      capacity = wanted
    }
    guard let base, let source = bytes.baseAddress else { return true }
    memcpy(base + count, source, bytes.count)
    count += bytes.count
    return true
  }

  /// Hands the block over, to be freed by the taker.
  mutating func take() -> (base: UnsafeMutableRawPointer, count: Int)? {
    guard let base else { return nil }
    let taken = count
    self.base = nil
    capacity = 0
    count = 0
    return (base, taken)
  }
}
