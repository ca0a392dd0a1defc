import Testing

@testable import ShimCore

/// The cutting of output into log records, at a limit small enough to see.
struct LogSplitterTests {
  /// Feeds `pieces` one after the other; records as `F:content` or `P:content`.
  private func records(_ pieces: [String], limit: Int = 4, finish: Bool = true) -> [String] {
    var splitter = LogSplitter(limit: limit)
    var found: [String] = []
    func take(_ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer, _ full: Bool) {
      found.append((full ? "F:" : "P:") + String(decoding: Array(head) + Array(tail), as: UTF8.self))
    }
    for piece in pieces { Array(piece.utf8).withUnsafeBytes { splitter.feed($0, take) } }
    #expect(splitter.pending.count <= limit + 1)
    if finish { splitter.finish(take) }
    return found
  }

  @Test(arguments: [
    ("a\nb\n", ["F:a", "F:b"]),
    ("\n\n", ["F:", "F:"]),
    ("abcd\n", ["F:abcd"]),
    ("abcde\n", ["P:abcd", "F:e"]),
    ("abcdefgh\n", ["P:abcd", "F:efgh"]),
    ("abcdefghi\n", ["P:abcd", "P:efgh", "F:i"]),
    ("abc", ["P:abc"]),
    ("abcd", ["P:abcd"]),
    ("abcde", ["P:abcd", "P:e"]),
    ("a\r\n", ["F:a"]),
    ("\r\n", ["F:"]),
    ("a\rb\n", ["F:a\rb"]),
    ("a\r\r\n", ["F:a\r"]),
    ("abcd\r\n", ["F:abcd"]),
    ("abcdefgh\r\n", ["P:abcd", "F:efgh"]),
    ("abcd\re\n", ["P:abcd", "F:\re"]),
    ("abcd\r", ["P:abcd", "P:\r"]),
    ("", []),
  ])
  func whole(output: String, expected: [String]) {
    #expect(records([output]) == expected)
  }

  /// The records do not depend on how the output comes.
  @Test(arguments: 0..<200)
  func anyPieces(seed: Int) {
    var state = UInt64(seed) &* 0x9e37_79b9_7f4a_7c15 &+ 1
    func random(_ bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(bound))
    }
    let alphabet = Array("abcdef\r\n\n")
    let output = String((0..<random(60)).map { _ in alphabet[random(alphabet.count)] })
    let bytes = Array(output.utf8)
    var pieces: [String] = []
    var start = 0
    while start < bytes.count {
      let end = min(bytes.count, start + 1 + random(7))
      pieces.append(String(decoding: bytes[start..<end], as: UTF8.self))
      start = end
    }
    let limit = 1 + random(6)
    #expect(records(pieces, limit: limit) == records([output], limit: limit), "seed \(seed)")
    for record in records(pieces, limit: limit) { #expect(record.utf8.count - 2 <= limit, "seed \(seed)") }
  }

  @Test func nothingIsHeldAfterANewline() {
    var splitter = LogSplitter(limit: 100)
    Array("abc\ndef\n".utf8).withUnsafeBytes { splitter.feed($0) { _, _, _ in } }
    #expect(splitter.pending.isEmpty)
  }
}
