import CNetlink
import Testing

@testable import PodNetwork

@Suite struct NetlinkParsingTests {
  @Test func attributesAreFoundAndTornOnesEndTheWalk() {
    // u32 4242 of type 27, "eth0" of type 3 with padding, then one that claims more than is there.
    let bytes: [UInt8] = [8, 0, 27, 0, 0x92, 0x10, 0, 0, 9, 0, 3, 0, 0x65, 0x74, 0x68, 0x30, 0, 0, 0, 0, 200, 0, 5, 0]
    bytes.withUnsafeBytes { buffer in
      let attributes = Attributes(buffer)
      #expect(attributes.uint32(27) == 4242)
      #expect(attributes.string(3) == "eth0")
      #expect(attributes.bytes(5) == nil)
    }
  }

  @Test(arguments: 1...200) func noiseIsNoTrouble(seed: UInt64) {
    var random = Generator(state: seed)
    let bytes = (0..<Int(random.next() % 300)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    bytes.withUnsafeBytes { buffer in
      forEachMessage(in: buffer) { _, payload in
        _ = Link(payload)
        _ = NetlinkFailure(payload)
        return true
      }
      _ = Link(buffer)
      _ = Attributes(buffer, after: 16).nested(IFLA_LINKINFO)
    }
  }

  @Test func batchesAreAlignedAndNumbered() throws {
    let batch = RouteBatch()
    try batch.add("set up", "lo", RouteMessage.change(1, up: true))
    try batch.add("remove", "group", RouteMessage.deleteGroup(7))
    let bytes = batch.bytes(firstSequence: 9)
    // nlmsghdr (16), ifinfomsg (16); the second with one attribute of 8.
    #expect(bytes.count == 32 + 40)
    #expect(Array(bytes[0..<12]) == [32, 0, 0, 0, 16, 0, 5, 0, 9, 0, 0, 0])
    #expect(Array(bytes[16..<32]) == [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])
    #expect(Array(bytes[32..<44]) == [40, 0, 0, 0, 17, 0, 5, 0, 10, 0, 0, 0])
    #expect(Array(bytes[64..<72]) == [8, 0, 27, 0, 7, 0, 0, 0])
  }
}
