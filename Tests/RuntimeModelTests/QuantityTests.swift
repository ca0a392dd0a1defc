import RuntimeModel
import Testing

@Suite struct QuantityTests {
  @Test(
    arguments: [
      ("500m", 500), ("0.5", 500), ("2", 2000), ("1e1", 10_000), ("1u", 1), ("1n", 1), ("0", 0), (".25", 250),
      ("+1", 1000),
      ("1.0001", 1001), ("2k", 2_000_000),
    ] as [(String, Int64)])
  func milliCPU(text: String, expected: Int64) throws {
    #expect(try #require(Quantity(text)).milliCPU == expected)
  }

  @Test(
    arguments: [
      ("64Mi", 67_108_864), ("1G", 1_000_000_000), ("128974848", 128_974_848), ("129e6", 129_000_000),
      ("1.5Gi", 1_610_612_736),
      ("100m", 1), ("1Ki", 1024), ("7Ei", 8_070_450_532_247_928_832), ("8Ei", Int64.max),
    ] as [(String, Int64)])
  func bytes(text: String, expected: Int64) throws {
    #expect(try #require(Quantity(text)).units == expected)
  }

  @Test(arguments: [
    "", "m", "-1", "1.2.3", "1 Gi", "64mi", "1KiB", "0x10", "1e99", "lots", "99999999999999999999999999",
  ])
  func refused(text: String) {
    #expect(Quantity(text) == nil)
  }
}
