package import NIOCore

/// A name/value block of SPDY/3: 32-bit counts and lengths, lower-case names, values joined by NUL.
package struct SPDYHeaders: Hashable {
  /// By name in lower case; of several values the first.
  package var values: [String: String]

  private static let limit = 64

  package init(_ values: [String: String] = [:]) { self.values = values }

  package subscript(name: String) -> String? { values[name] }

  /// - Throws: when a length leads out of the block, or there are too many names.
  package init(_ block: ByteBuffer) throws(SPDYError) {
    var block = block
    guard let count = block.readInteger(as: UInt32.self), count <= Self.limit else {
      throw SPDYError("a header block has no count, or one above \(Self.limit)")
    }
    values = [:]
    for _ in 0..<count {
      let (name, value) = (try Self.text(&block), try Self.text(&block))
      guard !name.isEmpty else { throw SPDYError("a header has no name") }
      // The peers' library writes names as they are given to it.
      let key = name.lowercased()
      guard values[key] == nil else { throw SPDYError("header \(key) is there twice") }
      values[key] = String(value.split(separator: "\0", omittingEmptySubsequences: false).first ?? "")
    }
    guard block.readableBytes == 0 else { throw SPDYError("a header block has bytes behind its end") }
  }

  package var block: ByteBuffer {
    var block = ByteBuffer()
    block.writeInteger(UInt32(values.count))
    for (name, value) in values.sorted(by: { $0.key < $1.key }) {
      for text in [name, value] {
        block.writeInteger(UInt32(text.utf8.count))
        block.writeString(text)
      }
    }
    return block
  }

  private static func text(_ block: inout ByteBuffer) throws(SPDYError) -> String {
    guard let length = block.readInteger(as: UInt32.self), length <= block.readableBytes,
      let text = block.readString(length: Int(length))
    else { throw SPDYError("a header's length leads out of its block") }
    return text
  }
}
