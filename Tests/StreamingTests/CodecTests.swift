import NIOCore
import RuntimeModel
import Testing

@testable import SPDY
@testable import Streaming

struct CodecTests {
  private func frames(_ bytes: ByteBuffer, by size: Int) throws -> [SPDYFrame] {
    var decoder = try SPDYDecoder()
    var bytes = bytes
    var frames: [SPDYFrame] = []
    while let piece = bytes.readSlice(length: min(size, bytes.readableBytes)), piece.readableBytes > 0 {
      decoder.append(piece)
      while let frame = try decoder.next() { frames.append(frame) }
    }
    return frames
  }

  /// As the specification has it (its length and its Adler-32, which is the identifier in every stream).
  @Test func `the dictionary is that of SPDY/3`() {
    #expect(SPDYDictionary.bytes.count == 1423)
    var (low, high) = (1, 0)
    for byte in SPDYDictionary.bytes {
      low = (low + Int(byte)) % 65521
      high = (high + low) % 65521
    }
    #expect(high << 16 | low == 0xe3c6_a7c2)
  }

  @Test(arguments: [1, 3, 7, 1 << 16]) func `frames come back however they are cut`(size: Int) throws {
    let encoder = try SPDYEncoder()
    let headers = SPDYHeaders(["streamtype": "stdout", "requestid": "17", "port": "80"])
    var bytes = try encoder.synStream(1, headers)
    bytes.writeImmutableBuffer(try encoder.synStream(3, headers, isLast: true))
    bytes.writeImmutableBuffer(try encoder.synReply(1, SPDYHeaders(["a": ""])))
    bytes.writeImmutableBuffer(SPDYEncoder.control(SPDYFrame.Kind.settings, ByteBuffer(repeating: 7, count: 100)))
    bytes.writeImmutableBuffer(SPDYEncoder.data(1, ByteBuffer(string: "hello")))
    bytes.writeImmutableBuffer(SPDYEncoder.data(1, ByteBuffer(), isLast: true))
    bytes.writeImmutableBuffer(SPDYEncoder.ping(9))
    bytes.writeImmutableBuffer(SPDYEncoder.reset(3, SPDYFrame.ResetStatus.cancel))
    var text = ""
    var rest: [SPDYFrame] = []
    for frame in try frames(bytes, by: size) {
      if case .data(1, let piece, false) = frame { text += String(buffer: piece) } else { rest.append(frame) }
    }
    #expect(text == "hello")
    #expect(
      rest == [
        .synStream(stream: 1, headers: headers, isLast: false), .synStream(stream: 3, headers: headers, isLast: true),
        .synReply(stream: 1, headers: SPDYHeaders(["a": ""]), isLast: false),
        .ignored(type: SPDYFrame.Kind.settings), .data(stream: 1, bytes: ByteBuffer(), isLast: true), .ping(id: 9),
        .reset(stream: 3, status: SPDYFrame.ResetStatus.cancel),
      ])
  }

  @Test func `a data frame of any length is handed on in pieces`() throws {
    var decoder = try SPDYDecoder()
    let length = (1 << 24) - 1
    var head = ByteBuffer(integer: UInt32(5))
    head.writeInteger(UInt32(1 << 24 | length))
    decoder.append(head)
    #expect(try decoder.next() == nil)
    var left = length
    while left > 0 {
      let piece = ByteBuffer(repeating: 1, count: min(left, 60_000))
      left -= piece.readableBytes
      decoder.append(piece)
      #expect(try decoder.next() == .data(stream: 5, bytes: piece, isLast: left == 0))
      #expect(try decoder.next() == nil)
    }
  }

  @Test func `what no peer sends ends the connection`() throws {
    let encoder = try SPDYEncoder()
    let many = SPDYHeaders(Dictionary(uniqueKeysWithValues: (0..<65).map { ("\($0)", "x") }))
    let bomb = SPDYHeaders(["a": String(repeating: "x", count: 1 << 20)])
    var foreign = ByteBuffer(integer: UInt32(1))
    foreign.writeRepeatingByte(0x55, count: 40)
    let rows: [(String, ByteBuffer)] = [
      ("64 is allowed", try SPDYEncoder().synStream(1, many)),
      ("header block of a mebibyte", try encoder.synStream(1, bomb)),
      ("long control frame", SPDYEncoder.control(SPDYFrame.Kind.headers, ByteBuffer(repeating: 0, count: 16385))),
      ("not deflated", SPDYEncoder.control(SPDYFrame.Kind.synReply, foreign)),
      ("short reset", SPDYEncoder.control(SPDYFrame.Kind.reset, ByteBuffer(integer: UInt32(1)))),
      ("empty frame", SPDYEncoder.control(SPDYFrame.Kind.goAway, ByteBuffer())),
      ("version 2", ByteBuffer(bytes: [0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1])),
    ]
    for (name, bytes) in rows {
      #expect(throws: SPDYError.self, "\(name)") { try frames(bytes, by: 1 << 24) }
    }
  }

  @Test func `headers with lengths that lie are refused`() {
    for bytes: [UInt8] in [
      [0, 0], [0, 0, 0, 1], [0, 0, 0, 1, 0, 0, 0, 9, 65], [255, 255, 255, 255], [0, 0, 0, 0, 1],
      [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
      #expect(throws: SPDYError.self) { try SPDYHeaders(ByteBuffer(bytes: bytes)) }
    }
  }

  @Test func `sizes come out of any pieces`() {
    var reader = ResizeReader()
    #expect(reader.take(ByteBuffer(string: #"{"Width":80,"Hei"#)) == nil)
    #expect(reader.take(ByteBuffer(string: #"ght":24}"#)) == TerminalSize(width: 80, height: 24))
    let several = #"{"Width":1,"Height":2}"# + "\n" + #"{"Height":4,"Width":3}{"Width":0,"Height":9}nonsense}"#
    #expect(reader.take(ByteBuffer(string: several)) == TerminalSize(width: 3, height: 4))
    #expect(reader.take(ByteBuffer(string: #"{"Width":70000,"Height":1}"#)) == nil)
    #expect(reader.take(ByteBuffer(string: String(repeating: "{", count: 100_000))) == nil)
    #expect(reader.take(ByteBuffer(string: #"}{"Width":5,"Height":6}"#)) == TerminalSize(width: 5, height: 6))
  }

  @Test func `statuses are those that clients read`() {
    #expect(CommandOutcome.exited(0).status == #"{"metadata":{},"status":"Success"}"#)
    #expect(CommandOutcome.exited(7).status.contains(#""details":{"causes":[{"message":"7","reason":"ExitCode"}]}"#))
    #expect(CommandOutcome.exited(7).status.contains(#""reason":"NonZeroExitCode""#))
    let failed = CommandOutcome.failed(#"no "x""#).status
    #expect(failed.contains(#""code":500"#) && failed.contains(#"Internal error occurred: no \"x\""#))
  }
}
