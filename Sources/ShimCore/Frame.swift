/// The ten bytes before every ttrpc payload.
struct FrameHeader {
  static let size = 10
  /// Payload of a request, in bytes; the peers' usual limit.
  static let requestLimit = 4 << 20
  /// Payload of a response, in bytes.
  static let responseLimit = 16 << 20
  static let request: UInt8 = 1
  static let response: UInt8 = 2

  var length: Int
  var stream: UInt32
  var type: UInt8
  var flags: UInt8

  init(length: Int, stream: UInt32, type: UInt8, flags: UInt8 = 0) {
    self.length = length
    self.stream = stream
    self.type = type
    self.flags = flags
  }

  /// Nil when there are too few bytes.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= FrameHeader.size else { return nil }
    length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt32.self)))
    stream = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    type = bytes[8]
    flags = bytes[9]
  }

  func store(to bytes: UnsafeMutableRawBufferPointer) {
    bytes.storeBytes(of: UInt32(length).bigEndian, toByteOffset: 0, as: UInt32.self)
    bytes.storeBytes(of: stream.bigEndian, toByteOffset: 4, as: UInt32.self)
    bytes[8] = type
    bytes[9] = flags
  }

  /// A request that a client may send after `last`: of the right type and size, its stream odd and rising.
  func isRequest(after last: UInt32) -> Bool {
    type == FrameHeader.request && length <= FrameHeader.requestLimit && stream % 2 == 1 && stream > last
  }
}

/// Puts requests together from whatever pieces a socket delivers. Holds memory only while a request is incomplete.
struct FrameAssembler {
  private var partial: [UInt8] = []
  private var lastStream: UInt32 = 0

  /// Whether bytes of an incomplete request are held.
  var isIdle: Bool { partial.isEmpty }

  /// Takes what was read and calls `handle` with each complete request, in order.
  /// - Returns: false when the peer does not speak the protocol; nothing more can be made of this connection then.
  mutating func feed(
    _ input: UnsafeRawBufferPointer, _ handle: (FrameHeader, UnsafeRawBufferPointer) -> Void
  ) -> Bool {
    var rest = input
    while !rest.isEmpty {
      if partial.isEmpty, let header = FrameHeader(rest) {
        guard header.isRequest(after: lastStream) else { return false }
        let total = FrameHeader.size + header.length
        if rest.count >= total {
          lastStream = header.stream
          handle(header, UnsafeRawBufferPointer(rebasing: rest[FrameHeader.size..<total]))
          rest = UnsafeRawBufferPointer(rebasing: rest[total...])
          continue
        }
        partial.reserveCapacity(total)
      }
      guard let used = take(rest, handle) else { return false }
      rest = UnsafeRawBufferPointer(rebasing: rest[used...])
    }
    return true
  }

  /// Completes the partial request with bytes of `rest`: how many, or nil when it is malformed.
  private mutating func take(
    _ rest: UnsafeRawBufferPointer, _ handle: (FrameHeader, UnsafeRawBufferPointer) -> Void
  ) -> Int? {
    var used = 0
    if partial.count < FrameHeader.size {
      used = min(FrameHeader.size - partial.count, rest.count)
      partial.append(contentsOf: rest[..<used])
    }
    guard let header = partial.withUnsafeBytes({ FrameHeader($0) }) else { return used }
    guard header.isRequest(after: lastStream) else { return nil }
    let total = FrameHeader.size + header.length
    partial.reserveCapacity(total)
    let more = min(total - partial.count, rest.count - used)
    partial.append(contentsOf: rest[used..<(used + more)])
    if partial.count == total {
      lastStream = header.stream
      let whole = partial
      partial = []
      whole.withUnsafeBytes { handle(header, UnsafeRawBufferPointer(rebasing: $0[FrameHeader.size...])) }
    }
    return used + more
  }
}
