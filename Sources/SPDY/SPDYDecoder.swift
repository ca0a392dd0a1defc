package import NIOCore

/// Takes frames out of bytes as they come. A data frame is handed on in the pieces it comes in, and never gathered.
package struct SPDYDecoder {
  /// Bytes of a control frame that is read; what the peers send has a few hundred.
  package static let controlLimit = 16 << 10

  private var buffer = ByteBuffer()
  private let inflater: HeaderInflater
  /// A data frame that is not complete yet: its stream, what is missing, and whether it is the stream's last.
  private var open: (stream: UInt32, missing: Int, isLast: Bool)?
  /// Bytes of a frame nobody wants that are still to come.
  private var skipped = 0

  /// - Throws: when there is no memory.
  package init() throws(SPDYError) { inflater = try HeaderInflater() }

  package mutating func append(_ bytes: ByteBuffer) {
    guard buffer.readableBytes > 0 else {
      buffer = bytes
      return
    }
    // Into a block of its own: what was handed on shares the old one, and what was read of it is not kept.
    var joined = ByteBuffer()
    joined.reserveCapacity(buffer.readableBytes + bytes.readableBytes)
    joined.writeImmutableBuffer(buffer)
    joined.writeImmutableBuffer(bytes)
    buffer = joined
  }

  /// - Returns: nil when more bytes are needed.
  package mutating func next() throws(SPDYError) -> SPDYFrame? {
    if skipped > 0 {
      let count = min(skipped, buffer.readableBytes)
      buffer.moveReaderIndex(forwardBy: count)
      skipped -= count
      guard skipped == 0 else { return nil }
    }
    if let frame = open { return piece(frame) }
    guard let head: UInt32 = buffer.getInteger(at: buffer.readerIndex),
      let tail: UInt32 = buffer.getInteger(at: buffer.readerIndex + 4)
    else { return nil }
    let (flags, length) = (UInt8(tail >> 24), Int(tail & 0xff_ffff))
    if head & 0x8000_0000 == 0 {
      buffer.moveReaderIndex(forwardBy: 8)
      return piece((head, length, flags & SPDYFrame.last != 0))
    }
    guard UInt16(head >> 16 & 0x7fff) == SPDYFrame.version else {
      throw SPDYError("a frame has version \(head >> 16 & 0x7fff), not 3")
    }
    return try control(UInt16(head & 0xffff), flags, length)
  }

  private mutating func piece(_ frame: (stream: UInt32, missing: Int, isLast: Bool)) -> SPDYFrame? {
    let count = min(frame.missing, buffer.readableBytes)
    guard let bytes = buffer.readSlice(length: count), count > 0 || frame.missing == 0 else {
      open = frame
      return nil
    }
    let missing = frame.missing - count
    open = missing > 0 ? (frame.stream, missing, frame.isLast) : nil
    return .data(stream: frame.stream, bytes: bytes, isLast: frame.isLast && missing == 0)
  }

  private mutating func control(_ kind: UInt16, _ flags: UInt8, _ length: Int) throws(SPDYError) -> SPDYFrame? {
    switch kind {
    case SPDYFrame.Kind.synStream, SPDYFrame.Kind.synReply, SPDYFrame.Kind.reset, SPDYFrame.Kind.ping,
      SPDYFrame.Kind.goAway, SPDYFrame.Kind.headers:
      guard length <= Self.controlLimit else {
        throw SPDYError("a control frame has \(length) bytes, \(Self.controlLimit) are allowed")
      }
    default:
      buffer.moveReaderIndex(forwardBy: 8)
      skipped = length
      return .ignored(type: kind)
    }
    guard buffer.readableBytes >= 8 + length else { return nil }
    buffer.moveReaderIndex(forwardBy: 8)
    guard var body = buffer.readSlice(length: length) else { return nil }
    return try parse(kind, flags & SPDYFrame.last != 0, &body)
  }

  private func parse(_ kind: UInt16, _ isLast: Bool, _ body: inout ByteBuffer) throws(SPDYError) -> SPDYFrame {
    guard let first: UInt32 = body.readInteger() else { throw SPDYError("a frame of type \(kind) is too short") }
    let stream = first & SPDYFrame.identifiers
    switch kind {
    case SPDYFrame.Kind.synStream:
      guard body.readBytes(length: 6) != nil else { throw SPDYError("a SYN_STREAM is too short") }
      return .synStream(stream: stream, headers: try headers(body), isLast: isLast)
    case SPDYFrame.Kind.synReply:
      return .synReply(stream: stream, headers: try headers(body), isLast: isLast)
    case SPDYFrame.Kind.headers:
      // Even if nobody wants them: the next block is deflated with what this one says.
      _ = try headers(body)
      return .headers(stream: stream, isLast: isLast)
    case SPDYFrame.Kind.reset:
      guard let status: UInt32 = body.readInteger() else { throw SPDYError("a RST_STREAM is too short") }
      return .reset(stream: stream, status: status)
    case SPDYFrame.Kind.ping:
      return .ping(id: first)
    default:
      return .goAway
    }
  }

  private func headers(_ block: ByteBuffer) throws(SPDYError) -> SPDYHeaders {
    try SPDYHeaders(try inflater.inflate(block))
  }
}
