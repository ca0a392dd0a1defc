import RuntimeModel
import Testing

@testable import PodNetwork

/// From records to what the kernel is to hold.
@Suite struct PeerPlanTests {
  private func plan(
    _ records: [NodeRecord], backend: NetworkConfiguration.Backend = .auto, earlier: Set<String> = [],
    _ change: (inout NetworkConfiguration) -> Void = { _ in }
  ) -> PeerPlan {
    var configuration = NetworkConfiguration()
    configuration.backend = backend
    change(&configuration)
    let link = UnderlayLink(
      interface: 2, name: "uplink", mtu: 1500, address4: IPAddress("198.18.1.10"), address6: IPAddress("fd98:1::10"))
    let onLink = ["198.18.1.0/24", "fd98:1::/64"].compactMap { AddressBlock($0) }
    return PeerPlan(
      records, own: "a", earlier: earlier,
      on: PeerPlan.Ground(
        plan: NetworkPlan(configuration, mtu: 1450), underlay: link, tunnel: backend.hasTunnel ? 9 : nil
      ) { address in onLink.contains { $0.contains(address) } })
  }

  /// Node n has block n; those from 100 on are behind a router.
  private func node(_ name: String, _ number: Int, blocks: [String]? = nil, backend: String = "auto") -> NodeRecord {
    let link = number < 100 ? 1 : 2
    return NodeRecord(
      name: name, podCIDRs: blocks ?? ["10.244.\(number).0/24", "fd44:\(number)::/64"],
      address4: "198.18.\(link).\(number)", address6: "fd98:\(link)::\(number)", backend: backend)
  }

  private func texts(_ plan: PeerPlan) -> [String] { plan.routes.map(\.description).sorted() }

  @Test func eachIsReachedAsItCanBe() {
    let found = plan([node("a", 1), node("b", 20), node("c", 120)])
    #expect(
      texts(found) == [
        "10.244.120.0/24 via 10.244.120.0 on interface 9", "10.244.20.0/24 via 198.18.1.20 on interface 2",
        "fd44:120::/64 via fd44:120:: on interface 9", "fd44:20::/64 via fd98:1::20 on interface 2",
      ])
    #expect(found.forwards.map(\.description) == ["0a:58:0a:f4:78:00 to 198.18.2.120"])
    #expect(found.neighbours.count == 2)
    #expect(found.nodes.count == 4)
    #expect(found.states.map(\.record.name) == ["b", "c"] && found.states.allSatisfy { $0.refusal == nil })
  }

  @Test func aFamilyThatThisNodeLacksIsLeftOut() {
    let found = plan([node("b", 20)]) { $0.podCIDRs = ["10.244.1.0/24"] }
    #expect(texts(found) == ["10.244.20.0/24 via 198.18.1.20 on interface 2"])
  }

  struct Refusal: Sendable, CustomTestStringConvertible {
    var record: NodeRecord
    var reason: String
    var backend = NetworkConfiguration.Backend.auto
    var testDescription: String { reason }
  }

  private static func record(_ change: (inout NodeRecord) -> Void) -> NodeRecord {
    var record = NodeRecord(name: "b", podCIDRs: ["10.244.2.0/24"], address4: "198.18.2.20", address6: nil)
    change(&record)
    return record
  }

  @Test(arguments: [
    Refusal(
      record: record { $0.podCIDRs = ["10.244.1.128/25"] },
      reason: "podCIDRs: 10.244.1.128/25 overlaps that of this node"),
    Refusal(
      record: record { $0.podCIDRs = ["10.0.0.0/8"] }, reason: "podCIDRs: 10.0.0.0/8 is not within cluster_cidrs"),
    Refusal(
      record: record { $0.podCIDRs = ["10.244.2.1/24"] },
      reason: "podCIDRs: [\"10.244.2.1/24\"] is not one CIDR block, or one of each family"),
    Refusal(record: record { $0.address4 = "198.18.1.10" }, reason: "address: 198.18.1.10 is this node's own"),
    Refusal(
      record: record { $0.address4 = "127.0.0.1" }, reason: "address4: \"127.0.0.1\" is not an address of a node"),
    Refusal(record: record { $0.address4 = nil }, reason: "address4, address6: both are missing"),
    Refusal(
      record: record { $0.vtepMAC = "0a:58:0a:f4:01:00" }, reason: "vtepMAC: 0a:58:0a:f4:01:00 is that of this node"),
    Refusal(record: record { $0.vtepMAC = "x" }, reason: "vtepMAC: \"x\" is not an Ethernet address"),
    Refusal(record: record { $0.version = 2 }, reason: "version: 2 is not 1"),
    Refusal(
      record: record { $0.name = "../b" }, reason: "name: \"../b\" is not 1 to 253 letters, digits, -, _ or ."),
    Refusal(
      record: record { $0.vni = 7 },
      reason: "10.244.2.0/24: vxlan: their vni 7 and port 4789 are not our 1 and 4789"),
    Refusal(
      record: record { _ in }, reason: "10.244.2.0/24: host-gw: 198.18.2.20 is not on the link of uplink",
      backend: .hostGateway),
    Refusal(
      record: record {
        $0.backend = "host-gw"
        $0.address4 = "198.18.1.20"
      }, reason: "10.244.2.0/24: backend: theirs is host-gw, ours vxlan", backend: .vxlan),
  ])
  func whatCannotBeIsRefusedAndSaysWhy(one: Refusal) {
    let found = plan([one.record, node("good", 30)], backend: one.backend)
    #expect(found.states.first { $0.record == one.record }?.refusal == one.reason)
    #expect(found.routes.contains { $0.destination.description == "10.244.30.0/24" })
    #expect(!found.routes.contains { $0.destination.description.hasPrefix("10.244.2.") })
  }

  /// Of two that want one block the one that had it stays, whatever its name.
  @Test func theOlderKeepsItsBlock() {
    let records = [node("z", 20), node("b", 21, blocks: ["10.244.20.0/24"])]
    #expect(plan(records, earlier: ["z"]).routes.contains { $0.gateway == IPAddress("198.18.1.20") })
    #expect(plan(records).routes.contains { $0.gateway == IPAddress("198.18.1.21") })
  }

  @Test func withIPv6AloneTheTunnelEndsStillDiffer() {
    let macs = (0..<1000).compactMap { MACAddress(tunnelEndOf: [AddressBlock("fd44:\($0)::/64")].compactMap { $0 }) }
    #expect(macs.count == 1000 && Set(macs).count == 1000)
  }
}
