import Testing

@testable import ShimCore

/// Frames as they come from a socket: whole, in pieces, too many at once, or from somebody who speaks something else.
struct FrameTests {
  /// A request on the wire.
  private func frame(_ stream: UInt32, _ payload: [UInt8], type: UInt8 = 1) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: FrameHeader.size)
    bytes.withUnsafeMutableBytes {
      FrameHeader(length: payload.count, stream: stream, type: type).store(to: $0)
    }
    return bytes + payload
  }

  /// What came out of an assembler: streams with their payloads, and whether it still follows.
  private func feed(_ assembler: inout FrameAssembler, _ bytes: [UInt8]) -> (frames: [(UInt32, [UInt8])], ok: Bool) {
    var frames: [(UInt32, [UInt8])] = []
    let ok = bytes.withUnsafeBytes { input in
      assembler.feed(input) { header, payload in frames.append((header.stream, Array(payload))) }
    }
    return (frames, ok)
  }

  @Test func headerIsBigEndian() throws {
    let bytes = frame(0x0102_0304, [UInt8](repeating: 7, count: 0x0506), type: 9)
    #expect(bytes.prefix(10) == [0, 0, 5, 6, 1, 2, 3, 4, 9, 0])
    let header = try #require(bytes.withUnsafeBytes { FrameHeader($0) })
    #expect(header.length == 0x0506)
    #expect(header.stream == 0x0102_0304)
    #expect(header.type == 9)
  }

  @Test func tooShortForAHeader() {
    let bytes = [UInt8](repeating: 0, count: FrameHeader.size - 1)
    #expect(bytes.withUnsafeBytes { FrameHeader($0) } == nil)
  }

  @Test(arguments: [1, 2, 3, 9, 10, 11, 13, 64, 1000])
  func anyPieces(size: Int) {
    let wire = frame(1, []) + frame(3, [1, 2, 3]) + frame(9, [UInt8](repeating: 4, count: 300)) + frame(11, [5])
    var assembler = FrameAssembler()
    var got: [(UInt32, [UInt8])] = []
    var start = 0
    while start < wire.count {
      let (frames, ok) = feed(&assembler, Array(wire[start..<min(start + size, wire.count)]))
      #expect(ok)
      got += frames
      start += size
    }
    #expect(got.map { $0.0 } == [1, 3, 9, 11])
    #expect(got.map { $0.1.count } == [0, 3, 300, 1])
    #expect(assembler.isIdle)
  }

  @Test(arguments: [
    (UInt32(2), UInt8(1)), (0, 1), (1, 2), (1, 3), (1, 0),
  ])
  func whatIsNoRequest(stream: UInt32, type: UInt8) {
    var whole = FrameAssembler()
    #expect(!feed(&whole, frame(stream, [1], type: type)).ok)
    var pieces = FrameAssembler()
    let bytes = frame(stream, [1], type: type)
    #expect(feed(&pieces, Array(bytes.prefix(4))).ok)
    #expect(!feed(&pieces, Array(bytes.dropFirst(4))).ok)
  }

  @Test func streamsRise() {
    var assembler = FrameAssembler()
    let (frames, ok) = feed(&assembler, frame(5, []) + frame(3, []))
    #expect(frames.map { $0.0 } == [5])
    #expect(!ok)
  }

  @Test func lengthIsCheckedBeforeThePayloadComes() {
    var header = [UInt8](repeating: 0, count: FrameHeader.size)
    header.withUnsafeMutableBytes {
      FrameHeader(length: FrameHeader.requestLimit + 1, stream: 1, type: 1).store(to: $0)
    }
    var assembler = FrameAssembler()
    #expect(!feed(&assembler, header).ok)
  }
}
