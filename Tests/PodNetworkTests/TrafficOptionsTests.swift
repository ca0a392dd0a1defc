import Testing

@testable import PodNetwork

@Suite struct TrafficOptionsTests {
  @Test(arguments: [
    (UInt64(1000), UInt64(125), UInt32(6056), UInt32(54504)), (8_000_000, 1_000_000, 10_000, 110_000),
    (1_000_000_000, 125_000_000, 1_250_000, 13_750_000),
    // 1P: what may wait is bounded.
    (1_000_000_000_000_000, 125_000_000_000_000, 1 << 26, 1 << 30),
  ])
  func bucketOfARate(bits: UInt64, rate: UInt64, burst: UInt32, limit: UInt32) {
    let bucket = TokenBucket(bitsPerSecond: bits, mtu: 1500)
    #expect(bucket.rate == rate && bucket.burst == burst && bucket.limit == limit)
    #expect(TokenBucket(bitsPerSecond: bits, mtu: 65535).burst >= 65549)
  }

  @Test(arguments: [
    ("a", true), ("web-1.x_y", true), ("A9", true), ("", false), ("-a", false), ("a.", false), ("a b", false),
    ("a;flush ruleset", false), ("\u{e9}", false), (String(repeating: "a", count: 63), true),
    (String(repeating: "a", count: 64), false),
  ])
  func groupsAreLabelValues(text: String, isGroup: Bool) {
    #expect(TrafficOptions.isGroup(text) == isGroup)
  }
}
