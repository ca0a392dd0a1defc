/// A sandbox's or container's identity: 64 lower-case hexadecimal characters, made by us and never by a client, so that
/// it is safe as the name of a directory, a cgroup or a socket.
package struct Identifier: Sendable, Hashable, Codable, Comparable, CustomStringConvertible {
  package let value: String

  /// - Returns: nil unless `value` is exactly 64 lower-case hexadecimal characters.
  package init?(_ value: String) {
    guard value.utf8.count == 64, value.utf8.allSatisfy(Self.isLowerHex) else { return nil }
    self.value = value
  }

  /// A fresh random identifier (256 bits).
  package static func random() -> Identifier {
    var generator = SystemRandomNumberGenerator()
    var text = ""
    for _ in 0..<4 {
      let word = String(generator.next(), radix: 16)
      text += String(repeating: "0", count: 16 - word.utf8.count) + word
    }
    return Identifier(unchecked: text)
  }

  /// The first 12 characters, for people.
  package var short: String { String(value.prefix(12)) }

  package var description: String { value }

  package static func < (a: Identifier, b: Identifier) -> Bool { a.value < b.value }

  package init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let id = Identifier(text) else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "\"\(text)\" is not 64 hexadecimal characters"))
    }
    self = id
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(value)
  }

  private init(unchecked value: String) { self.value = value }

  private static func isLowerHex(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
  }
}
