import RuntimeModel
import Testing

@testable import PodNetwork

@Suite struct ConfigurationTests {
  @Test func defaultsAreValid() throws {
    try NetworkConfiguration().validated()
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var text: String
    var change: @Sendable (inout NetworkConfiguration) -> Void
    var testDescription: String { text }
  }

  @Test(arguments: [
    Case(text: "network.bridge: \"\" is not 1 to 12 letters, digits, - or _") { $0.bridge = "" },
    Case(text: "network.bridge: \"a/b\" is not 1 to 12 letters, digits, - or _") { $0.bridge = "a/b" },
    Case(text: "network.bridge: \"abcdefghijklm\" is not 1 to 12 letters, digits, - or _") {
      $0.bridge = "abcdefghijklm"
    },
    Case(text: "network.bridge: \"podbridge00\" could be the name of a pod's interface") { $0.bridge = "podbridge00" },
    Case(text: "network.interface_prefix: \"a\"b\" is not 1 to 6 letters, digits, - or _") {
      $0.interfacePrefix = "a\"b"
    },
    Case(text: "network.pod_cidrs: is empty") { $0.podCIDRs = [] },
    Case(text: "network.pod_cidrs: \"10.244.1.1/24\" is not a CIDR block without host bits") {
      $0.podCIDRs = ["10.244.1.1/24"]
    },
    Case(text: "network.pod_cidrs: 10.1.0.0/24 is a second block of its family") {
      $0.podCIDRs = ["10.0.0.0/24", "10.1.0.0/24"]
    },
    Case(text: "network.pod_cidrs: 10.0.0.0/31 has no room for a pod: at most /30") { $0.podCIDRs = ["10.0.0.0/31"] },
    Case(text: "network.pod_cidrs: fd44::/127 has no room for a pod: at most /126") { $0.podCIDRs = ["fd44::/127"] },
    Case(text: "network.pod_cidrs: 127.1.0.0/16 holds loopback, link-local or multicast addresses") {
      $0.podCIDRs = ["127.1.0.0/16"]
    },
    Case(text: "network.pod_cidrs: 0.0.0.0/0 holds loopback, link-local or multicast addresses") {
      $0.podCIDRs = ["0.0.0.0/0"]
    },
    Case(text: "network.cluster_cidrs: \"x\" is not a CIDR block without host bits") { $0.clusterCIDRs = ["x"] },
    Case(text: "network.non_masquerade_cidrs: \"10.0.0.0/8; flush ruleset\" is not a CIDR block without host bits") {
      $0.nonMasqueradeCIDRs = ["10.0.0.0/8; flush ruleset"]
    },
    Case(text: "network.vxlan.device: \"a b\" is not 1 to 15 letters, digits, - or _") { $0.vxlan.device = "a b" },
    Case(text: "network.vxlan.device: is the bridge's name") { $0.vxlan.device = "podbr0" },
    Case(text: "network.vxlan.vni: 16777216 is not within 1 and 16777215") { $0.vxlan.vni = 1 << 24 },
    Case(text: "network.vxlan.port: 0 is no port") { $0.vxlan.port = 0 },
    Case(text: "network.mtu: 100 is not within 576 and 65535") { $0.mtu = 100 },
    Case(text: "network.source_ips: \"127.0.0.1\" is not an address that the world could answer to") {
      $0.sourceIPs = ["127.0.0.1"]
    },
    Case(text: "network.source_ips: 192.0.2.2 is a second address of its family") {
      $0.sourceIPs = ["192.0.2.1", "192.0.2.2"]
    },
    Case(text: "network.source_ips: 10.244.1.9 is an address of pods") { $0.sourceIPs = ["10.244.1.9"] },
    Case(text: "network.source_ips: 2001:db8::1 is of a family whose pods are not masqueraded") {
      $0.sourceIPs = ["2001:db8::1"]
      $0.masquerade6 = false
    },
    Case(text: "network.source_ips: 192.0.2.1 is of a family whose pods are not masqueraded") {
      $0.sourceIPs = ["192.0.2.1"]
      $0.podCIDRs = ["fd44:1::/64"]
    },
    Case(text: "network.isolation: \"full\" needs addressing = \"routed\"") {
      $0.isolation = .full
      $0.addressing = .switched
    },
    Case(text: "network.internal: is true, and non_masquerade_cidrs lets pods out to 192.0.2.0/24") {
      $0.isInternal = true
      $0.nonMasqueradeCIDRs = ["192.0.2.0/24"]
    },
    Case(text: "network.mtu: 1000 is below 1280, which IPv6 needs") { $0.mtu = 1000 },
    Case(text: "network.pool: 257 is not within 0 and 256") { $0.pool = 257 },
    Case(text: "network.group_id: 0 is not within 1 and 1073741823") { $0.groupID = 0 },
  ])
  func theFirstBadKeyIsNamed(one: Case) {
    var configuration = NetworkConfiguration()
    one.change(&configuration)
    let error = #expect(throws: NetworkError.self) { try configuration.validated() }
    #expect(error?.description == one.text)
  }

  struct Size: Sendable, CustomTestStringConvertible {
    var underlay: Underlay
    var backend: NetworkConfiguration.Backend
    var blocks = ["10.0.0.0/24", "fd44::/64"]
    var asked: Int?
    /// nil: refused.
    var pods: UInt32?
    var testDescription: String { "\(backend) over \(underlay), asked \(asked ?? 0): \(pods ?? 0)" }
  }

  @Test(arguments: [
    Size(underlay: Underlay(mtu: 1500, family: .ipv4), backend: .none, pods: 1500),
    Size(underlay: Underlay(mtu: 9000, family: .ipv4), backend: .hostGateway, pods: 9000),
    Size(underlay: Underlay(mtu: 1500, family: .ipv4), backend: .vxlan, pods: 1450),
    Size(underlay: Underlay(mtu: 1500, family: .ipv6), backend: .vxlan, pods: 1430),
    Size(underlay: Underlay(mtu: 1500, family: .ipv4), backend: .auto, pods: 1450),
    Size(underlay: Underlay(mtu: 1500, family: .ipv4), backend: .vxlan, asked: 1400, pods: 1400),
    Size(underlay: Underlay(mtu: 1300, family: .ipv4), backend: .vxlan, pods: nil),
    Size(underlay: Underlay(mtu: 1300, family: .ipv4), backend: .vxlan, blocks: ["10.0.0.0/24"], pods: 1250),
    Size(underlay: Underlay(mtu: 1000, family: .ipv4), backend: .none, pods: 1280),
  ])
  func whatATunnelAddsIsTakenOffTheMTU(one: Size) {
    var configuration = NetworkConfiguration()
    configuration.podCIDRs = one.blocks
    configuration.backend = one.backend
    configuration.mtu = one.asked
    #expect((try? one.underlay.podMTU(configuration)) == one.pods)
  }
}
