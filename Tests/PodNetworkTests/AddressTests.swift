import RuntimeModel
import Testing

@testable import PodNetwork

@Suite struct AddressTests {
  @Test(arguments: ["10.244.1.0/24", "0.0.0.0/0", "fd44:1::/64", "::/0", "10.0.0.4/30", "fd44::1/128"])
  func blocksReadAndWriteTheSame(text: String) {
    #expect(AddressBlock(text)?.description == text)
  }

  @Test(arguments: [
    "10.244.1.0", "10.244.1.1/24", "10.244.1.0/33", "10.244.1/24", "10.244.1.0/-1", "10.244.1.0/+4", "10.244.1.0/",
    "/24", "fd44:1::1/64", "fd44::/129", "x", "", "10.244.1.0/24/1", "10.0.0.0/8 ",
  ])
  func whatIsNoBlockIsRefused(text: String) {
    #expect(AddressBlock(text) == nil)
  }

  @Test func lastAddressAndContainment() throws {
    let block = try #require(AddressBlock("10.244.1.0/24"))
    #expect(block.last.description == "10.244.1.255")
    #expect(block.address(2).description == "10.244.1.2")
    #expect(block.contains(try #require(IPAddress("10.244.1.255"))))
    #expect(!block.contains(try #require(IPAddress("10.244.2.0"))))
    #expect(!block.contains(try #require(IPAddress("::a"))))
    let all = try #require(AddressBlock("::/0"))
    #expect(all.last.description == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    #expect(block.overlaps(try #require(AddressBlock("10.0.0.0/8"))))
    #expect(!block.overlaps(try #require(AddressBlock("10.244.0.0/24"))))
    #expect(!block.overlaps(all))
  }

  @Test func mergingDropsWhatAnotherHolds() {
    let blocks = ["10.244.1.0/24", "10.0.0.0/8", "10.244.1.0/24", "192.168.0.0/16"].compactMap { AddressBlock($0) }
    #expect(AddressBlock.merged(blocks).map(\.description) == ["10.0.0.0/8", "192.168.0.0/16"])
  }

  @Test func macFollowsFromTheAddress() throws {
    let mac = MACAddress(derivedFrom: 0x0af4_0102)
    #expect(mac.description == "0a:58:0a:f4:01:02")
    #expect(MACAddress(mac.description) == mac)
    #expect(mac.linkLocal.description == "fe80::858:aff:fef4:102")
    #expect(MACAddress("0a:58:0a:f4:01") == nil)
    #expect(MACAddress("0a:58:0a:f4:01:2") == nil)
  }
}

@Suite struct PlanTests {
  private func plan(_ blocks: [String]) -> NetworkPlan {
    var configuration = NetworkConfiguration()
    configuration.podCIDRs = blocks
    return NetworkPlan(configuration, mtu: 1500)
  }

  @Test func leasesOfBothFamiliesShareTheHostNumber() {
    let plan = plan(["10.244.1.0/24", "fd44:1::/64"])
    let lease = plan.lease(5)
    #expect(lease.ipv4 == "10.244.1.5")
    #expect(lease.ipv6 == "fd44:1::5")
    #expect(lease.mac == "0a:58:0a:f4:01:05")
    #expect(lease.hostInterface == "pod0af40105")
    #expect(plan.number(of: lease) == 5)
    #expect(plan.number(ofInterface: "pod0af40105") == 5)
    #expect(plan.gateway.description == "10.244.1.1")
    #expect(plan.bridgeMAC.description == "0a:58:0a:f4:01:01")
  }

  @Test func ipv6AloneCountsHosts() {
    let plan = plan(["fd44:1::/64"])
    let lease = plan.lease(0x1234)
    #expect(lease.ipv4 == nil)
    #expect(lease.mac == "0a:58:00:00:12:34")
    #expect(lease.hostInterface == "pod00001234")
    #expect(plan.gateway.description == "fe80::1")
    #expect(plan.hostNumbers == 2...0xff_ffff)
  }

  @Test(
    arguments: [
      (["10.244.1.0/24"], 2...254), (["10.0.0.0/30"], 2...2), (["10.0.0.0/8"], 2...0xff_fffe), (["fd44::/126"], 2...3),
      (["10.244.1.0/24", "fd44::/126"], 2...3),
    ] as [([String], ClosedRange<UInt32>)])
  func hostNumbersLeaveOutNetworkBridgeAndBroadcast(blocks: [String], expected: ClosedRange<UInt32>) {
    #expect(plan(blocks).hostNumbers == expected)
  }

  @Test func foreignLeasesHaveNoNumber() {
    let plan = plan(["10.244.1.0/24"])
    for address in ["10.244.2.5", "10.244.1.0", "10.244.1.1", "10.244.1.255", "nonsense"] {
      let lease = AddressLease(ipv4: address, ipv6: nil, mac: "", hostInterface: "")
      #expect(plan.number(of: lease) == nil)
    }
    for name in ["pod0af40101", "pod0af40202", "podbr0", "pod0af4010", "pod0af4010x", "xyz0af40105"] {
      #expect(plan.number(ofInterface: name) == nil)
    }
  }

  @Test(arguments: [
    ("10.244.1.0/24", ["pod0af401*"]), ("10.0.0.0/8", ["pod0a*"]),
    ("10.0.0.8/30", ["pod0a000008", "pod0a000009", "pod0a00000a", "pod0a00000b"]),
    ("10.244.0.0/22", ["pod0af400*", "pod0af401*", "pod0af402*", "pod0af403*"]), ("fd44::/64", ["pod00*"]),
  ])
  func patternsMatchOurInterfacesOnly(block: String, expected: [String]) {
    #expect(plan([block]).interfacePatterns == expected)
  }

  @Test func bridgesHaveTablesOfTheirOwn() {
    var configuration = NetworkConfiguration()
    #expect(NetworkPlan(configuration, mtu: 1500).ruleTable == "podnet")
    configuration.bridge = "other0"
    #expect(NetworkPlan(configuration, mtu: 1500).guardTable == "podguard_other0")
  }

  @Test func aliasesNameTheirSandbox() {
    let id = Identifier.random()
    #expect(LinkAlias.sandbox(LinkAlias.pod(id)) == id)
    #expect(LinkAlias.sandbox("podnet") == nil)
    #expect(LinkAlias.sandbox("podnet:x") == nil)
  }
}
