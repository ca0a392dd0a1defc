import CNetlink
import Glibc
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct ScaleTests {
    /// What the kernel holds of the network, so that what came with pods can be seen to go with them.
    struct Census: Equatable {
      var links: Set<String>
      var routes: Set<Route> = []
      var neighbours: Set<Neighbour> = []
      var rules: RuleFingerprint

      init(_ network: PodNetwork) throws {
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        links = try Set(socket.links().map(\.name))
        for family in [AddressFamily.ipv4, .ipv6] { routes.formUnion(try socket.routes(family)) }
        // Loopback's come and go with the traffic of other tests, those of groups with the kernel's own reports to them.
        for family in [AF_INET, AF_INET6, AF_BRIDGE] {
          neighbours.formUnion(
            try socket.fixedNeighbours(family: family).filter { $0.interface != 1 && !"\($0.mac)".hasPrefix("33:33:") })
        }
        rules = try RuleFingerprint(network.plan, NetlinkSocket(family: NETLINK_NETFILTER))
      }
    }

    /// Every pod has addresses of its own, the first, the middle and the last talk to each other, and afterwards the
    /// kernel is as before, all within a time of the processors' that only something quadratic would miss.
    @Test func fiveHundredPodsComeAndGo() async throws {
      let log = LogRecord()
      try await KernelRoom.withNetwork(configuration, logger: log.logger) { network in
        let before = try await settled(network)
        let begin = processorTime()
        #expect(try await comeAndGo(500, network) == 1)
        #expect(log.texts.isEmpty)
        let after = try Census(network)
        #expect(after.links == before.links)
        #expect(after.routes == before.routes)
        #expect(after.neighbours == before.neighbours)
        #expect(after.rules == before.rules)
        #expect(processorTime() - begin < .seconds(30))
      }
    }

    /// Beyond the ports of one bridge. The second one goes with the next start, and takes its rules along.
    @Test func elevenHundredPodsComeAndGo() async throws {
      let log = LogRecord()
      try await KernelRoom.withNetwork(configuration, logger: log.logger) { network in
        let before = try await settled(network)
        let begin = processorTime()
        #expect(try await comeAndGo(1100, network) == 2)
        #expect(log.texts == ["a bridge is nearly full"])
        await network.shutdown()
        let next = try await PodNetwork.open(configuration, liveSandboxes: [:], logger: KernelRoom.logger)
        let after = try Census(next)
        await next.shutdown()
        #expect(after.links == before.links)
        #expect(after.routes == before.routes)
        #expect(after.neighbours == before.neighbours)
        #expect(after.rules.rules.count == before.rules.rules.count)
        #expect(processorTime() - begin < .seconds(60))
      }
    }

    private var configuration: NetworkConfiguration {
      var configuration = KernelRoom.configuration()
      configuration.podCIDRs = ["10.244.0.0/21", "fd44:1::/64"]
      return configuration
    }

    /// The census when what is made at the first use only is there, the rest of the anti-spoof sets among it.
    private func settled(_ network: PodNetwork) async throws -> Census {
      do { _ = try await attach(1, network) }
      try await allGone(network)
      return try Census(network)
    }

    /// - Returns: how many bridges they were on.
    private func comeAndGo(_ count: Int, _ network: PodNetwork) async throws -> Int {
      var pods = try await attach(count, network)
      #expect(Set(pods.flatMap(\.lease.addresses)).count == 2 * count)
      let links = try NetlinkSocket(family: NETLINK_ROUTE).links()
      let names = Set(pods.map(\.lease.hostInterface))
      let hosts = links.filter { names.contains($0.name) }
      #expect(hosts.count == count)
      try await talk(pods[0], pods[count / 2])
      try await talk(pods[count / 2], pods[count - 1])
      try await talk(pods[count - 1], pods[0])
      for pod in pods { await network.detach(sandbox: pod.id, lease: pod.lease) }
      pods = []
      try await allGone(network)
      #expect(network.ledger.withLock { $0.allocator.used } == 0)
      return Set(hosts.map(\.master)).count
    }

    /// One after another, as the kernel's one lock has it anyway; detached at once when there is an error.
    private func attach(_ count: Int, _ network: PodNetwork) async throws -> [Pod] {
      var pods: [Pod] = []
      for _ in 0..<count { pods.append(try await Pod(network)) }
      if count == 1 { await network.detach(sandbox: pods[0].id, lease: pods[0].lease) }
      return pods
    }

    private func talk(_ from: Pod, _ to: Pod) async throws {
      let server = try await Endpoint.make(to.attachment.namespace, .tcp, port: 80)
      let client = try await Endpoint.make(from.attachment.namespace, .tcp)
      #expect(client.connect(to: to.lease.ipv4 ?? "", 80) == 0)
      #expect(server.acceptedPeer() == from.lease.ipv4)
    }

    private func allGone(_ network: PodNetwork) async throws {
      try await KernelRoom.eventually("all links are gone") {
        network.ledger.withLock { $0.indexes.isEmpty }
      }
    }
  }
}
