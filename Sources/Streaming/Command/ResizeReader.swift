import FoundationEssentials
import NIOCore
import RuntimeModel

/// Takes sizes out of a resize stream: JSON objects one after the other, cut anywhere.
struct ResizeReader {
  private var text: [UInt8] = []
  private static let limit = 1024

  /// - Returns: the last complete size; what is no size, or has a zero, is passed over.
  mutating func take(_ bytes: ByteBuffer) -> TerminalSize? {
    var found: TerminalSize?
    for byte in bytes.readableBytesView {
      text.append(byte)
      if byte == UInt8(ascii: "}") {
        if let size = Self.size(text) { found = size }
        text.removeAll(keepingCapacity: true)
      } else if text.count > Self.limit {
        text.removeAll(keepingCapacity: true)
      }
    }
    return found
  }

  private static func size(_ text: [UInt8]) -> TerminalSize? {
    guard let size = try? JSONDecoder().decode(TerminalSize.self, from: Data(text)), size.width > 0, size.height > 0
    else { return nil }
    return size
  }
}
