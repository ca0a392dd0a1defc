package import NIOCore

/// Frames of SPDY/3.1, as far as the peers send them (CRI.md 5.2).
package enum SPDYFrame: Hashable {
  case synStream(stream: UInt32, headers: SPDYHeaders, isLast: Bool)
  case synReply(stream: UInt32, headers: SPDYHeaders, isLast: Bool)
  case reset(stream: UInt32, status: UInt32)
  case ping(id: UInt32)
  case goAway
  /// Later headers of a stream that is open.
  case headers(stream: UInt32, isLast: Bool)
  /// A piece of a data frame; `isLast` with the last piece of the stream's last one.
  case data(stream: UInt32, bytes: ByteBuffer, isLast: Bool)
  /// SETTINGS, WINDOW_UPDATE, and what is no frame of ours.
  case ignored(type: UInt16)

  package enum Kind {
    package static let synStream: UInt16 = 1, synReply: UInt16 = 2, reset: UInt16 = 3, settings: UInt16 = 4,
      ping: UInt16 = 6
    package static let goAway: UInt16 = 7, headers: UInt16 = 8, windowUpdate: UInt16 = 9
  }

  package enum ResetStatus {
    package static let protocolError: UInt32 = 1, invalidStream: UInt32 = 2, refusedStream: UInt32 = 3,
      cancel: UInt32 = 5
  }

  package static let version: UInt16 = 3
  /// FLAG_FIN.
  package static let last: UInt8 = 1
  /// Stream and ping identifiers have 31 bits.
  package static let identifiers: UInt32 = 0x7fff_ffff
}

/// Makes frames. Those with headers must be written in the order in which they were made.
package struct SPDYEncoder {
  private let deflater: HeaderDeflater

  /// - Throws: when there is no memory.
  package init() throws(SPDYError) { deflater = try HeaderDeflater() }

  package func synReply(_ stream: UInt32, _ headers: SPDYHeaders = .init()) throws(SPDYError) -> ByteBuffer {
    var body = ByteBuffer(integer: stream)
    body.writeImmutableBuffer(try deflater.deflate(headers.block))
    return Self.control(SPDYFrame.Kind.synReply, body)
  }

  /// As clients send it.
  package func synStream(_ stream: UInt32, _ headers: SPDYHeaders, isLast: Bool = false) throws(SPDYError) -> ByteBuffer
  {
    var body = ByteBuffer(integer: stream)
    body.writeInteger(UInt32(0))  // associated with no other stream
    body.writeInteger(UInt16(0))  // priority, slot
    body.writeImmutableBuffer(try deflater.deflate(headers.block))
    return Self.control(SPDYFrame.Kind.synStream, body, flags: isLast ? SPDYFrame.last : 0)
  }

  package static func reset(_ stream: UInt32, _ status: UInt32) -> ByteBuffer {
    var body = ByteBuffer(integer: stream)
    body.writeInteger(status)
    return control(SPDYFrame.Kind.reset, body)
  }

  package static func ping(_ id: UInt32) -> ByteBuffer { control(SPDYFrame.Kind.ping, ByteBuffer(integer: id)) }

  /// - Parameter bytes: fewer than 2^24.
  package static func data(_ stream: UInt32, _ bytes: ByteBuffer, isLast: Bool = false) -> ByteBuffer {
    var frame = ByteBuffer()
    frame.reserveCapacity(8 + bytes.readableBytes)
    frame.writeInteger(stream)
    frame.writeInteger(UInt32(isLast ? SPDYFrame.last : 0) << 24 | UInt32(bytes.readableBytes))
    frame.writeImmutableBuffer(bytes)
    return frame
  }

  package static func control(_ kind: UInt16, _ body: ByteBuffer, flags: UInt8 = 0) -> ByteBuffer {
    var frame = ByteBuffer()
    frame.reserveCapacity(8 + body.readableBytes)
    frame.writeInteger(0x8000 | SPDYFrame.version)
    frame.writeInteger(kind)
    frame.writeInteger(UInt32(flags) << 24 | UInt32(body.readableBytes))
    frame.writeImmutableBuffer(body)
    return frame
  }
}
