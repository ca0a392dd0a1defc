import FoundationEssentials
import RuntimeModel
import Testing

@testable import PodNetwork

/// The rules as text, compared with what a reviewer has read. `UPDATE_GOLDEN=1 swift test` writes them anew.
@Suite struct RuleTextTests {
  private func check(_ text: String, _ name: String, _ file: String = #filePath) throws {
    let path = String(file.prefix(upTo: file.lastIndex(of: "/") ?? file.endIndex)) + "/Golden/" + name
    if ProcessInfo.processInfo.environment["UPDATE_GOLDEN"] == "1" {
      try Data(text.utf8).write(to: URL(filePath: path))
    }
    #expect(try String(contentsOf: URL(filePath: path), encoding: .utf8) == text)
  }

  private func rules(_ change: (inout NetworkConfiguration) -> Void) -> RuleText {
    var configuration = NetworkConfiguration()
    change(&configuration)
    let plan = NetworkPlan(configuration, mtu: 1500)
    return RuleText(plan: plan, filledBlocks: plan.prefilledBlocks)
  }

  @Test func bothFamiliesWithPorts() throws {
    var text = rules { $0.podCIDRs = ["10.244.1.0/29", "fd44:1::/64"] }
    let ports = [
      HostPort(transport: .tcp, hostPort: 8080, containerPort: 80),
      HostPort(transport: .udp, hostPort: 53, containerPort: 5353, hostIP: "192.0.2.1"),
    ]
    text.published = Array(
      try PublishedPort.all(ports, pod: ["10.244.1.2", "fd44:1::2"].compactMap { IPAddress($0) }))
    try check(text.whole, "both-families.nft")
  }

  @Test func ipv4OnlyOnAnotherBridgeWithoutMasquerade() throws {
    try check(
      rules {
        $0.bridge = "other0"
        $0.podCIDRs = ["10.9.0.0/30"]
        $0.clusterCIDRs = []
        $0.nonMasqueradeCIDRs = ["10.9.0.0/24", "10.9.0.128/25"]
        $0.masquerade = false
      }.whole, "ipv4-other-bridge.nft")
  }

  @Test func otherNodesOverLinkAndTunnel() throws {
    var text = rules {
      $0.podCIDRs = ["10.244.1.0/30", "fd44:1::/126"]
      $0.backend = .auto
    }
    text.plan.underlay = UnderlayLink(interface: 2, name: "uplink", mtu: 1500)
    text.nodes = Set(["198.18.1.11", "198.18.1.12", "fd98:1::11"].compactMap { IPAddress($0) })
    try check(text.whole, "other-nodes.nft")
    #expect(text.nodesReplacement.contains("add element inet podnet nodes6 { fd98:1::11 }"))
    text.nodes = []
    #expect(text.nodesReplacement == "flush set inet podnet nodes4\nflush set inet podnet nodes6\n")
  }

  @Test func podsThatShareANetwork() throws {
    try check(
      rules {
        $0.addressing = .switched
        $0.podCIDRs = ["10.9.0.0/30", "fd09::/126"]
        $0.clusterCIDRs = []
      }.whole, "switched.nft")
  }

  @Test func everyBridgeIsNamed() {
    var text = rules { _ in }
    text.bridges = ["podbr0", "podbr0-1"]
    #expect(text.whole.contains("    iifname { \"podbr0\", \"podbr0-1\" } accept\n"))
    #expect(text.whole.contains("    oifname { \"podbr0\", \"podbr0-1\" } jump incoming\n"))
    #expect(!text.whole.contains("podbr0\" accept"))
  }

  @Test func groupsOnAnInternalNetwork() throws {
    var text = rules {
      $0.podCIDRs = ["10.244.1.0/30", "fd44:1::/64"]
      $0.isolation = .label
      $0.isInternal = true
      $0.hostPorts.localhost = false
      $0.directAccess = .any
    }
    for (address, group) in [("10.244.1.2", "blue"), ("fd44:1::2", "blue"), ("10.244.1.3", "red-1.x_y")] {
      text.groups[try #require(IPAddress(address))] = group
    }
    text.counts[.isolated] = TrafficCount(packets: 3, bytes: 180)
    try check(text.whole, "groups-internal.nft")
    let (first, second) = ([try #require(IPAddress("10.244.1.2"))], [try #require(IPAddress("10.244.1.3"))])
    #expect(
      text.joining("blue", second) == """
        add element inet podnet member4_blue { 10.244.1.3 }
        add element inet podnet group4 { 10.244.1.3 : jump group_blue }

        """)
    #expect(text.joining("green", first).contains("add rule inet podnet group_green ip daddr @member4_green accept\n"))
    #expect(!text.leaving("blue", first).contains("delete chain"), "its IPv6 address is still a member")
    #expect(text.leaving("red-1.x_y", second).contains("delete chain inet podnet group_red-1.x_y\n"))
  }

  @Test func fullIsolationAndOneFamilyOfSourceAddresses() throws {
    try check(
      rules {
        $0.podCIDRs = ["10.244.1.0/30", "fd44:1::/64"]
        $0.isolation = .full
        $0.masquerade6 = false
        $0.sourceIPs = ["192.0.2.7"]
      }.whole, "full-source.nft")
  }

  @Test func aLargeBlockFillsItsPairsWhenTheyAreNeeded() {
    let text = rules { $0.podCIDRs = ["10.0.0.0/16"] }
    #expect(text.filledBlocks.isEmpty)
    #expect(!text.whole.contains("0a:58"))
    let fill = text.fill(block: 1)
    #expect(fill.hasPrefix("add element bridge podguard pair4 { 0a:58:0a:00:01:00 . 10.0.1.0, "))
    #expect(fill.hasSuffix("0a:58:0a:00:01:ff . 10.0.1.255 }\n"))
  }
}
