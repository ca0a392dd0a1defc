/// Finds Ctrl-P Ctrl-Q in what a person types: it leaves a session and lets its process run.
struct DetachKeys {
  private static let first: UInt8 = 0x10
  private static let second: UInt8 = 0x11

  private var isHalfDone = false

  /// - Returns: what is to be sent on, and whether the keys were pressed; nothing behind them counts.
  mutating func pass(_ bytes: [UInt8]) -> (rest: [UInt8], detaches: Bool) {
    var rest: [UInt8] = []
    for byte in bytes {
      if isHalfDone {
        isHalfDone = false
        if byte == Self.second { return (rest, true) }
        rest.append(Self.first)
      }
      if byte == Self.first {
        isHalfDone = true
      } else {
        rest.append(byte)
      }
    }
    return (rest, false)
  }
}
