import ShimProtocol
import Testing

@Suite struct FrameCodecTests {
  @Test func `a frame's bytes are what the protocol says`() throws {
    let bytes = try FrameCodec.encode(
      Frame(stream: 0x0102_0305, type: Frame.request, flags: 7, payload: [0xaa, 0xbb]), limit: 2)
    #expect(bytes == [0, 0, 0, 2, 1, 2, 3, 5, 1, 7, 0xaa, 0xbb])
  }

  /// A seed that fails can be put into the list.
  @Test(arguments: (0..<50).map { _ in UInt64.random(in: .min ... .max) } + [0, 1])
  func `frames survive any chunking`(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    let frames = (0..<Int.random(in: 1...20, using: &random)).map { _ in
      Frame(
        stream: .random(in: .min ... .max, using: &random), type: .random(in: .min ... .max, using: &random),
        flags: .random(in: .min ... .max, using: &random),
        payload: (0..<Int.random(in: 0...[0, 1, 40, 3000].randomElement(using: &random)!, using: &random)).map { _ in
          .random(in: .min ... .max, using: &random)
        })
    }
    let bytes = try frames.flatMap { try FrameCodec.encode($0, limit: 3000) }
    var decoder = FrameDecoder(limit: 3000)
    var decoded: [Frame] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(.random(in: 0...[1, 7, 11, 5000].randomElement(using: &random)!, using: &random)))
      rest = rest.dropFirst(piece.count)
      decoded += try decoder.decode(piece.span.bytes)
    }
    try decoder.finish()
    #expect(decoded == frames)
  }

  @Test func `a payload beyond the limit is refused by its header alone`() throws {
    var decoder = FrameDecoder(limit: 1000)
    let header: [UInt8] = [0, 0, 3, 0xe9, 0, 0, 0, 1, 2, 0]
    #expect(throws: FrameError.payloadTooLarge(length: 1001, limit: 1000)) { try decoder.decode(header.span.bytes) }
    #expect(throws: FrameError.payloadTooLarge(length: 1001, limit: 1000)) {
      try FrameCodec.encode(
        Frame(stream: 1, type: 1, payload: [UInt8](repeating: 0, count: 1001)), limit: 1000)
    }
  }

  @Test(arguments: [(1, 9), (9, 1), (10, 4), (13, 1)])
  func `an end inside a frame is told`(length: Int, missing: Int) throws {
    let bytes = try FrameCodec.encode(Frame(stream: 1, type: 2, payload: [1, 2, 3, 4]), limit: 4)
    var decoder = FrameDecoder(limit: 4)
    #expect(try decoder.decode(Array(bytes.prefix(length)).span.bytes).isEmpty)
    #expect(throws: FrameError.truncated(missing: missing)) { try decoder.finish() }
  }
}

/// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (2014).
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
