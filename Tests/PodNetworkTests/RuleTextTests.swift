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

  @Test func aLargeBlockFillsItsPairsWhenTheyAreNeeded() {
    let text = rules { $0.podCIDRs = ["10.0.0.0/16"] }
    #expect(text.filledBlocks.isEmpty)
    #expect(!text.whole.contains("0a:58"))
    let fill = text.fill(block: 1)
    #expect(fill.hasPrefix("add element bridge podguard pair4 { 0a:58:0a:00:01:00 . 10.0.1.0, "))
    #expect(fill.hasSuffix("0a:58:0a:00:01:ff . 10.0.1.255 }\n"))
  }
}
