import RuntimeModel
import Testing

@testable import NodeRegistry

@Suite struct ClaimPlanTests {
  private func blocks(_ texts: String...) -> [AddressBlock] { texts.compactMap { AddressBlock($0) } }

  @Test func oneOfEachFamilyWithTheSameNumber() throws {
    let plan = try ClaimPlan(cluster: blocks("10.244.0.0/16", "fd44::/56"), maskSize4: 24, maskSize6: 64)
    #expect(plan.count == 256)
    #expect(plan.blocks(7).map(\.description) == ["10.244.7.0/24", "fd44:0:0:7::/64"])
  }

  /// Nodes that come at once ask for different blocks, and all of them can be given.
  @Test func everyBlockIsGivenOnce() throws {
    let plan = try ClaimPlan(cluster: blocks("10.244.0.0/20"), maskSize4: 24, maskSize6: 64)
    var taken: [AddressBlock] = []
    for number in 0..<16 {
      let chosen = try #require(plan.choose(for: "node-\(number)", taken: taken))
      #expect(!taken.contains { $0.overlaps(chosen[0]) })
      taken += chosen
    }
    #expect(plan.choose(for: "one-more", taken: taken) == nil)
    #expect(plan.choose(for: "node-3", taken: []) == plan.choose(for: "node-3", taken: []))
  }

  @Test func aBlockOfAnotherSizeIsAvoided() throws {
    let plan = try ClaimPlan(cluster: blocks("10.244.0.0/22"), maskSize4: 24, maskSize6: 64)
    let chosen = plan.choose(for: "a", taken: blocks("10.244.0.0/23", "10.244.2.0/25"))
    #expect(chosen == blocks("10.244.3.0/24"))
  }

  @Test func aBlockLargerThanTheClustersIsRefused() {
    #expect(throws: RegistryError.configuration(key: "cidr_mask_size_ipv4", reason: "8 is larger than 10.244.0.0/16")) {
      try ClaimPlan(cluster: blocks("10.244.0.0/16"), maskSize4: 8, maskSize6: 64)
    }
  }
}
