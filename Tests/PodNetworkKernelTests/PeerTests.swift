import CNetlink
import Glibc
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct PeerTests {
    private func configuration(_ backend: NetworkConfiguration.Backend) -> NetworkConfiguration {
      var configuration = NetworkConfiguration()
      configuration.backend = backend
      configuration.underlay = "outside0"
      configuration.clusterCIDRs = ["10.0.0.0/8", "fd44::/16"]
      return configuration
    }

    /// Blocks 10.1.0.0/24, 10.1.1.0/24 and so on.
    private func nodes(_ count: Int) -> [NodeRecord] {
      (0..<count).map { number in
        let (high, low) = (number / 200, number % 200)
        return NodeRecord(
          name: "node-\(number)", podCIDRs: ["10.\(1 + high).\(low).0/24", "fd44:1\(high):\(low)::/64"],
          address4: "198.18.\(high).\(low + 1)", address6: nil)
      }
    }

    private func routes(_ network: PodNetwork) throws -> Int {
      let socket = try NetlinkSocket(family: NETLINK_ROUTE)
      return try AddressFamily.allCases.map { try socket.peerRoutes($0).count }.reduce(0, +)
    }

    /// A large cluster is written in one go, and looked at without a change.
    @Test func fourHundredNodesComeAndGo() async throws {
      try KernelRoom.require()
      let outside = try await Outside()
      defer { try? outside.remove() }
      try await KernelRoom.withNetwork(configuration(.vxlan)) { network in
        let records = nodes(400)
        let states = try await network.setPeers(records, own: "here")
        #expect(states.count == 400 && states.allSatisfy { $0.refusal == nil && $0.ways.count == 2 })
        #expect(try routes(network) == 800)
        let again = try await network.writer.run { () throws(NetworkError) in try network.peerSide.compare() }
        #expect(again.changes.isEmpty && again.failures.isEmpty)
        _ = try await network.setPeers(Array(records.prefix(10)), own: "here")
        #expect(try routes(network) == 20)
        let tunnel = try #require(network.peerHealth.withLock { $0.interfaces.first })
        #expect(try NetlinkSocket(family: NETLINK_ROUTE).tunnelForwards(tunnel).count == 10)
      }
      #expect(try NetlinkSocket(family: NETLINK_ROUTE).link(named: "podvx0") == nil)
    }

    /// A peer that moves, changes its block or its tunnel's end: what was there is replaced, and nothing stays behind.
    @Test func aPeerThatChangesIsFollowed() async throws {
      try KernelRoom.require()
      let outside = try await Outside()
      defer { try? outside.remove() }
      try await KernelRoom.withNetwork(configuration(.auto)) { network in
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        var record = nodes(1)[0]
        _ = try await network.setPeers([record], own: "here")
        let tunnel = try #require(network.peerHealth.withLock { $0.interfaces.first })
        record.vtepMAC = "02:00:00:00:00:07"
        record.address4 = "198.18.9.9"
        _ = try await network.setPeers([record], own: "here")
        #expect(try socket.tunnelForwards(tunnel).map(\.description) == ["02:00:00:00:00:07 to 198.18.9.9"])
        record.address4 = Outside.address
        var states = try await network.setPeers([record], own: "here")
        #expect(states[0].ways == ["10.1.0.0/24": .hostGateway, "fd44:10::/64": .vxlan])
        record.podCIDRs = ["10.7.0.0/24"]
        states = try await network.setPeers([record], own: "here")
        #expect(states[0].ways == ["10.7.0.0/24": .hostGateway])
        #expect(try socket.tunnelForwards(tunnel).isEmpty)
        #expect(try routes(network) == 1)
      }
    }

    @Test func aForeignTunnelIsNamed() async throws {
      try KernelRoom.require()
      let outside = try await Outside()
      defer { try? outside.remove() }
      let socket = try NetlinkSocket(family: NETLINK_ROUTE)
      try socket.run { batch throws(NetworkError) in
        try batch.add(
          "create", "podvx0",
          RouteMessage.createBridge(name: "podvx0", group: 0, mac: MACAddress(derivedFrom: 7), mtu: 1500))
      }
      defer {
        try? socket.run { batch throws(NetworkError) in
          try batch.add("remove", "podvx0", RouteMessage.delete(socket.link(named: "podvx0")?.index ?? 0))
        }
      }
      let error = await #expect(throws: NetworkError.self) {
        _ = try await PodNetwork.open(configuration(.vxlan), liveSandboxes: [:], logger: KernelRoom.logger)
      }
      #expect(error?.description == "interface podvx0 exists and is not ours: a bridge")
      #expect(try socket.link(named: "podbr0") == nil, "nothing is left behind")
      try RuleEngine().run("flush ruleset")
    }
  }
}
