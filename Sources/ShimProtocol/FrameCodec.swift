/// One frame of ttrpc, the framing between the daemon and a shim. Source of the format: the head of `proto/shim.proto`.
package struct Frame: Sendable, Hashable {
  /// ``type`` of a frame that carries a `Request`.
  package static let request: UInt8 = 1
  /// ``type`` of a frame that carries a `Response`.
  package static let response: UInt8 = 2

  /// Which call it belongs to; odd, chosen by the client, rising.
  package var stream: UInt32
  package var type: UInt8
  /// Nothing uses them yet; kept as they came.
  package var flags: UInt8
  package var payload: [UInt8]

  package init(stream: UInt32, type: UInt8, flags: UInt8 = 0, payload: [UInt8]) {
    self.stream = stream
    self.type = type
    self.flags = flags
    self.payload = payload
  }
}

/// Why bytes are no acceptable frames. Nothing after such an error on a connection can be trusted.
package enum FrameError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A frame announces, or would need, more bytes of payload than the direction allows.
  case payloadTooLarge(length: Int, limit: Int)
  /// The connection ended inside a frame.
  case truncated(missing: Int)
  /// Neither a request nor a response, or the wrong one of the two.
  case unexpectedType(UInt8)
  /// An answer to a call that was never made.
  case unexpectedStream(UInt32)

  package var description: String {
    switch self {
    case .payloadTooLarge(let length, let limit): "frame of \(length) bytes exceeds the limit of \(limit)"
    case .truncated(let missing): "connection ended \(missing) bytes before the end of a frame"
    case .unexpectedType(let type): "frame of unexpected type \(type)"
    case .unexpectedStream(let stream): "frame for unknown stream \(stream)"
    }
  }
}

/// Frames to bytes, and the limits both directions keep.
package enum FrameCodec {
  /// Bytes before a payload: length (4), stream (4), type (1), flags (1), big-endian.
  package static let headerLength = 10
  /// Greatest payload of a request, in bytes.
  package static let requestLimit = 4 << 20
  /// Greatest payload of a response, in bytes.
  package static let responseLimit = 16 << 20

  /// The bytes of a frame.
  /// - Throws: ``FrameError/payloadTooLarge(length:limit:)``.
  package static func encode(_ frame: Frame, limit: Int) throws(FrameError) -> [UInt8] {
    guard frame.payload.count <= limit, let length = UInt32(exactly: frame.payload.count) else {
      throw .payloadTooLarge(length: frame.payload.count, limit: limit)
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(headerLength + frame.payload.count)
    append(length, to: &bytes)
    append(frame.stream, to: &bytes)
    bytes.append(frame.type)
    bytes.append(frame.flags)
    bytes.append(contentsOf: frame.payload)
    return bytes
  }

  /// Writes the stream's number into an encoded frame: it is only known once the frame's place in the order is.
  static func setStream(_ stream: UInt32, of bytes: inout [UInt8]) {
    for (index, shift) in [24, 16, 8, 0].enumerated() { bytes[4 + index] = UInt8(truncatingIfNeeded: stream >> shift) }
  }

  private static func append(_ word: UInt32, to bytes: inout [UInt8]) {
    for shift in [24, 16, 8, 0] { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
  }
}

/// Bytes to frames, whatever the pieces in which the bytes come. Holds one unfinished frame at most, and memory for it
/// only as its bytes arrive, so that a header alone costs nothing.
package struct FrameDecoder: Sendable {
  private let limit: Int
  private var header: [UInt8] = []
  private var length = 0
  private var payload: [UInt8] = []

  /// - Parameter limit: greatest payload accepted, in bytes.
  package init(limit: Int) { self.limit = limit }

  /// Takes the next bytes of the connection and gives the frames that they complete.
  /// - Throws: ``FrameError/payloadTooLarge(length:limit:)`` as soon as the header says so; the decoder is done then.
  package mutating func decode(_ bytes: RawSpan) throws(FrameError) -> [Frame] {
    var frames: [Frame] = []
    var offset = 0
    while true {
      if header.count < FrameCodec.headerLength {
        let taken = min(FrameCodec.headerLength - header.count, bytes.byteCount - offset)
        Self.append(bytes.extracting(offset..<offset + taken), to: &header)
        offset += taken
        guard header.count == FrameCodec.headerLength else { return frames }
        length = Int(word(at: 0))
        guard length <= limit else { throw .payloadTooLarge(length: length, limit: limit) }
      }
      let taken = min(length - payload.count, bytes.byteCount - offset)
      Self.append(bytes.extracting(offset..<offset + taken), to: &payload)
      offset += taken
      guard payload.count == length else { return frames }
      frames.append(Frame(stream: word(at: 4), type: header[8], flags: header[9], payload: payload))
      header.removeAll(keepingCapacity: true)
      payload = []
    }
  }

  /// To be called at the end of the connection.
  /// - Throws: ``FrameError/truncated(missing:)`` when it ended inside a frame.
  package func finish() throws(FrameError) {
    if header.isEmpty { return }
    if header.count < FrameCodec.headerLength { throw .truncated(missing: FrameCodec.headerLength - header.count) }
    throw .truncated(missing: length - payload.count)
  }

  private func word(at offset: Int) -> UInt32 {
    header[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
  }

  private static func append(_ bytes: RawSpan, to array: inout [UInt8]) {
    bytes.withUnsafeBytes { array.append(contentsOf: $0) }
  }
}
