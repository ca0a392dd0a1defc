import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Testing

@testable import PodNetwork

extension KernelTests {
  /// NETWORK.md 5.3: more pods than a bridge has ports. Other links take most of them, which is quicker than pods.
  @Suite struct OverflowTests {
    private func configuration(_ addressing: NetworkConfiguration.Addressing = .routed) -> NetworkConfiguration {
      var configuration = KernelRoom.configuration()
      configuration.podCIDRs = ["10.244.0.0/21", "fd44:1::/64"]
      configuration.addressing = addressing
      return configuration
    }

    private func links() throws -> [String: Link] {
      Dictionary(try NetlinkSocket(family: NETLINK_ROUTE).links().map { ($0.name, $0) }) { first, _ in first }
    }

    @Test func podsBehindAnotherBridgeAreAsReachable() async throws {
      try await KernelRoom.withNetwork(configuration()) { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        try await withPlugs(1022, in: "podbr0") {
          let web = HostPort(transport: .tcp, hostPort: 8080, containerPort: 80)
          let a = try await Pod(network)
          try await withBridge("podbr0-1") {
            let error = await #expect(throws: NetworkError.self) { _ = try await Pod(network) }
            #expect(
              error?.description
                == "network.bridge: interface podbr0-1 exists and is not ours: it is a bridge without our alias "
                + "\"podnet-overflow:podbr0\"")
          }
          let (c, d) = (try await Pod(network, ports: [web]), try await Pod(network))
          let found = try links()
          let (first, second) = (try #require(found["podbr0"]), try #require(found["podbr0-1"]))
          #expect(found[a.lease.hostInterface]?.master == first.index)
          for pod in [c, d] { #expect(found[pod.lease.hostInterface]?.master == second.index) }
          #expect(second.mac == first.mac && second.mtu == 1500)
          let routes = try NetlinkSocket(family: NETLINK_ROUTE)
          #expect(try routes.routes(.ipv4).filter { $0.interface == second.index }.count == 2)
          try await checkPaths(a, c, d)
          let server = try await Endpoint.make(c.attachment.namespace, .tcp, port: 80)
          for (client, to) in [(a, "10.244.0.1"), (d, "10.244.0.1"), (nil, "127.0.0.1")] {
            #expect(try await connect(client, to, 8080) == 0)
            #expect(server.acceptedPeer() == (client?.lease.ipv4 ?? "10.244.0.1"))
          }
          let world = try await Endpoint.make(outside.namespace, .tcp, port: 81)
          #expect(try await connect(d, Outside.address, 81) == 0)
          #expect(world.acceptedPeer() == Outside.nodeAddress)
          #expect(await network.readiness() == .ready)

          await network.detach(sandbox: c.id, lease: c.lease)
          #expect(try await connect(d, c.lease.ipv4 ?? "", 80, milliseconds: 100) != 0)
          #expect(try routes.routes(.ipv4).filter { $0.interface == second.index }.count == 1)
        }
      }
    }

    @Test func aRestartAndADeletionKeepThePlaces() async throws {
      try await KernelRoom.withNetwork(configuration()) { first in
        try await withPlugs(1022, in: "podbr0") {
          let (a, c) = (try await Pod(first), try await Pod(first))
          await first.shutdown()
          let live = [a.id: a.lease, c.id: c.lease]
          let second = try await PodNetwork.open(configuration(), liveSandboxes: live, logger: KernelRoom.logger)
          #expect(second.report == NetworkReport())
          let d = try await Pod(second)
          try await checkPaths(a, c, d)
          let socket = try NetlinkSocket(family: NETLINK_ROUTE)
          let index = try #require(try socket.link(named: "podbr0-1")?.index)
          try socket.run { batch throws(NetworkError) in
            try batch.add("remove", "podbr0-1", RouteMessage.delete(index))
          }
          // Counted when all of a look is done.
          try await KernelRoom.eventually("a repair") { !second.counters.repairs.isEmpty }
          try await KernelRoom.eventually("its pods are back") {
            let server = try await Endpoint.make(c.attachment.namespace, .tcp, port: 80)
            return try await connect(a, c.lease.ipv4 ?? "", 80, milliseconds: 200) == 0
              && server.acceptedPeer(milliseconds: 200) != nil
          }
          try await checkPaths(a, c, d)
          await second.detach(sandbox: c.id, lease: c.lease)
          await second.detach(sandbox: d.id, lease: d.lease)
          await second.shutdown()
          // An overflow bridge that nobody is on goes with the next start.
          let third = try await PodNetwork.open(
            configuration(), liveSandboxes: [a.id: a.lease], logger: KernelRoom.logger)
          #expect(try links()["podbr0-1"] == nil)
          await third.shutdown()
        }
      }
    }

    @Test func aSharedNetworkEndsWithItsBridge() async throws {
      try await KernelRoom.withNetwork(configuration(.switched)) { network in
        try await withPlugs(1022, in: "podbr0") {
          let last = try await Pod(network)
          let error = await #expect(throws: NetworkError.self) { _ = try await Pod(network) }
          await network.detach(sandbox: last.id, lease: last.lease)
          #expect(error?.description == "bridge podbr0 is full: the kernel allows 1023 ports")
          #expect(try links()["podbr0-1"] == nil)
        }
        // A place that becomes free is used.
        _ = try await Pod(network)
      }
    }

    /// Each of some pods and the node to each pod, in both families.
    private func checkPaths(_ pods: Pod...) async throws {
      for server in pods {
        for (number, to) in server.lease.addresses.enumerated() {
          let family = AddressFamily.allCases[number]
          let listener = try await Endpoint.make(server.attachment.namespace, .tcp, port: 90, family: family)
          for client in pods where client.id != server.id {
            #expect(try await connect(client, to, 90) == 0)
            #expect(listener.acceptedPeer() == client.lease.addresses[number])
          }
          #expect(try await connect(nil, to, 90) == 0)
          #expect(listener.acceptedPeer() == ["10.244.0.1", "fd44:1::1"][number])
        }
      }
    }

    private func connect(
      _ pod: Pod?, _ to: String, _ port: UInt16, milliseconds: Int32 = Endpoint.patience
    ) async throws -> Int32 {
      let family: AddressFamily = to.contains(":") ? .ipv6 : .ipv4
      return try await Endpoint.make(pod?.attachment.namespace, .tcp, family: family)
        .connect(to: to, port, milliseconds: milliseconds)
    }
  }
}
