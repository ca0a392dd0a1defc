import Testing

@testable import ShimCore

struct TimestampTests {
  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00.000000000Z"),
      (951_782_399_000_000_001, "2000-02-28T23:59:59.000000001Z"),
      (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
      (951_868_800_999_999_999, "2000-03-01T00:00:00.999999999Z"),
      (1_795_453_140_289_024_513, "2026-11-23T16:59:00.289024513Z"),
      (1_798_761_599_123_456_789, "2026-12-31T23:59:59.123456789Z"),
      (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
    ] as [(Int64, String)])
  func fixedWidth(time: Int64, expected: String) {
    var bytes = [UInt8](repeating: 0, count: Timestamp.size)
    bytes.withUnsafeMutableBytes { Timestamp.store(time, to: $0) }
    #expect(String(decoding: bytes, as: UTF8.self) == expected)
  }
}

struct DecimalsTests {
  @Test(
    arguments: [
      ("", []), ("12\n34\n", [12, 34]), ("oom_kill 7", [7]), ("x1y22", [1, 22]),
    ] as [(String, [UInt64])])
  func numbers(text: String, expected: [UInt64]) {
    #expect(decimals(Array(text.utf8)[...]) == expected)
  }
}

struct WireTests {
  @Test(arguments: [0, 1, 127, 128, 16383, 16384, UInt64(UInt32.max), UInt64.max])
  func sizeIsWhatIsWritten(value: UInt64) {
    withUnsafeTemporaryAllocation(byteCount: 16, alignment: 1) { buffer in
      guard let base = buffer.baseAddress else { return }
      var end = base
      Wire.put(varint: value, &end)
      #expect(end - base == Wire.size(ofVarint: value))
      var read: UInt64 = 0
      for index in 0..<(end - base) { read |= UInt64(buffer[index] & 0x7f) << UInt64(7 * index) }
      #expect(read == value)
    }
  }
}
