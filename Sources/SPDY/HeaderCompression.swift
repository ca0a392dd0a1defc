internal import CZlib
package import NIOCore

/// What makes a connection unusable: the text names the rule that the peer broke.
package struct SPDYError: Error, Hashable, CustomStringConvertible {
  package var description: String

  package init(_ description: String) { self.description = "spdy: \(description)" }
}

/// The header blocks of one direction of a connection, which are one zlib stream. For one task.
package final class HeaderInflater {
  /// Bytes of one block, inflated; what the peers send has a hundred or two.
  package static let limit = 16 << 10
  private var stream = z_stream()

  /// - Throws: when there is no memory.
  package init() throws(SPDYError) {
    guard inflateInit_(&stream, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
      throw SPDYError("no memory to inflate headers")
    }
  }

  deinit { inflateEnd(&stream) }

  package func inflate(_ block: ByteBuffer) throws(SPDYError) -> ByteBuffer {
    var input = [UInt8](block.readableBytesView)
    var output = [UInt8](repeating: 0, count: Self.limit)
    let count = try input.withUnsafeMutableBufferPointer { (input) throws(SPDYError) in
      try output.withUnsafeMutableBufferPointer { (output) throws(SPDYError) in
        stream.next_in = input.baseAddress
        stream.avail_in = UInt32(input.count)
        stream.next_out = output.baseAddress
        stream.avail_out = UInt32(output.count)
        try run()
        return output.count - Int(stream.avail_out)
      }
    }
    return ByteBuffer(bytes: output.prefix(count))
  }

  private func run() throws(SPDYError) {
    while true {
      var result = CZlib.inflate(&stream, Z_SYNC_FLUSH)
      if result == Z_NEED_DICT {
        result = SPDYDictionary.bytes.withUnsafeBufferPointer {
          inflateSetDictionary(&stream, $0.baseAddress, UInt32($0.count))
        }
        guard result == Z_OK else { throw SPDYError("headers are deflated with another dictionary") }
        continue
      }
      guard result == Z_OK || result == Z_BUF_ERROR else { throw SPDYError("headers are not a deflated block") }
      guard stream.avail_out > 0 else { throw SPDYError("headers have more than \(Self.limit) bytes") }
      if stream.avail_in == 0 { return }
      guard result == Z_OK else { throw SPDYError("headers are not a deflated block") }
    }
  }
}

/// The other direction's. For one task: the order of the blocks is that of the frames.
package final class HeaderDeflater {
  private var stream = z_stream()

  /// - Throws: when there is no memory.
  package init() throws(SPDYError) {
    // The smallest windows that hold the dictionary: 20 KiB instead of 256.
    let result = deflateInit2_(
      &stream, Z_BEST_SPEED, Z_DEFLATED, 11, 1, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard result == Z_OK else { throw SPDYError("no memory to deflate headers") }
    _ = SPDYDictionary.bytes.withUnsafeBufferPointer {
      deflateSetDictionary(&stream, $0.baseAddress, UInt32($0.count))
    }
  }

  deinit { deflateEnd(&stream) }

  package func deflate(_ block: ByteBuffer) throws(SPDYError) -> ByteBuffer {
    var input = [UInt8](block.readableBytesView)
    // What was not compressed at all has five bytes more in every block of deflate's.
    var output = [UInt8](repeating: 0, count: input.count * 2 + 64)
    let count = input.withUnsafeMutableBufferPointer { input in
      output.withUnsafeMutableBufferPointer { output in
        stream.next_in = input.baseAddress
        stream.avail_in = UInt32(input.count)
        stream.next_out = output.baseAddress
        stream.avail_out = UInt32(output.count)
        let result = CZlib.deflate(&stream, Z_SYNC_FLUSH)
        return result == Z_OK && stream.avail_in == 0 && stream.avail_out > 0
          ? output.count - Int(stream.avail_out) : -1
      }
    }
    guard count >= 0 else { throw SPDYError("headers cannot be deflated") }
    return ByteBuffer(bytes: output.prefix(count))
  }
}
