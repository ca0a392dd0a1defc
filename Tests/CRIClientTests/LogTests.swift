import Testing

@testable import CRIClient

@Suite struct LogTests {
  @Test func aRecordsParts() throws {
    let record = try #require(LogRecord(Array("2026-11-23T17:01:33.565496404Z stderr F two  words ".utf8)))
    #expect(record.timestamp == "2026-11-23T17:01:33.565496404Z")
    #expect(record.stream == .stderr)
    #expect(!record.isPartial)
    #expect(String(decoding: record.content, as: UTF8.self) == "two  words ")
  }

  @Test(arguments: [("T stdout F ", false), ("T stdout F", false), ("T stdout P ", true), ("T stdout P:x ", true)])
  func anEmptyRecord(line: String, isPartial: Bool) throws {
    let record = try #require(LogRecord(Array(line.utf8)))
    #expect(record.content.isEmpty)
    #expect(record.isPartial == isPartial)
  }

  @Test(arguments: ["", "T", "T stdout", "T stdin F x", "T stdout X x", " stdout F x", "hello there F x"])
  func notARecord(line: String) {
    #expect(LogRecord(Array(line.utf8)) == nil)
  }

  @Test func piecesOfOneStreamAreJoined() {
    var assembler = LogAssembler()
    let text = "1 stdout P ab\n2 stderr F oops\n3 stdout P cd\n4 stdout F ef\n"
    let lines = assembler.take(Array(text.utf8))
    #expect(lines.map { String(decoding: $0.content, as: UTF8.self) } == ["oops", "abcdef"])
    #expect(lines.map(\.timestamp) == ["2", "1"])
    #expect(lines.allSatisfy { $0.hasNewline })
    #expect(assembler.finish().isEmpty)
  }

  /// Whatever the chunks in which the file is read, the lines are the same.
  @Test(arguments: 1...17) func chunksDoNotMatter(size: Int) {
    let text = "1 stdout F \u{E4}\u{1F600}\n2 stderr P x\n3 stderr F y\nnot a record\n4 stdout P end"
    let bytes = Array((text + "\n").utf8)
    var whole = LogAssembler()
    let expected = whole.take(bytes) + whole.finish()
    var assembler = LogAssembler()
    var lines: [LogAssembler.Line] = []
    for start in stride(from: 0, to: bytes.count, by: size) {
      lines += assembler.take(bytes[start..<min(start + size, bytes.count)])
    }
    lines += assembler.finish()
    #expect(lines == expected)
    #expect(lines.count == 4)
    #expect(lines.last?.hasNewline == false)
  }

  @Test func anEndlessLineIsPassedOn() {
    var assembler = LogAssembler()
    let piece = Array(("1 stdout P " + String(repeating: "x", count: 16_384) + "\n").utf8)
    var lines: [LogAssembler.Line] = []
    for _ in 0..<100 { lines += assembler.take(piece) }
    lines += assembler.finish()
    #expect(lines.map(\.content.count).reduce(0, +) == 1_638_400)
    #expect(lines.count == 2)
    #expect(lines.allSatisfy { $0.content.count <= LogAssembler.longestLine + 16_384 })
  }
}
