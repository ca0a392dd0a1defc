import CNetlink
import Glibc
import RuntimeModel
import Testing

@testable import PodNetwork

extension KernelTests {
  /// NETWORK.md 9: who reaches whom, with real traffic, both ways and in both families.
  @Suite struct IsolationTests {
    private static let web = HostPort(transport: .tcp, hostPort: 8080, containerPort: 80)

    private func configuration(
      _ change: (inout NetworkConfiguration) -> Void
    ) -> NetworkConfiguration {
      var configuration = KernelRoom.configuration()
      change(&configuration)
      return configuration
    }

    /// Connections from one pod to another's port 80 come about, or do not, in both families.
    private func expect(
      _ from: Pod, _ to: Pod, reaches isReached: Bool, _ place: SourceLocation = #_sourceLocation
    ) async throws {
      for (family, address) in [(AddressFamily.ipv4, to.lease.ipv4), (.ipv6, to.lease.ipv6)] {
        let server = try await Endpoint.make(to.attachment.namespace, .tcp, port: 80, family: family)
        let client = try await Endpoint.make(from.attachment.namespace, .tcp, family: family)
        let failed = client.connect(to: address ?? "", 80, milliseconds: isReached ? Endpoint.patience : 80)
        #expect((failed == 0) == isReached, "\(family)", sourceLocation: place)
        withExtendedLifetime(server) {}
      }
    }

    @Test func fullIsolationLeavesPublishedPortsAndTheNode() async throws {
      try await KernelRoom.withNetwork(configuration { $0.isolation = .full }) { network in
        let (a, b) = (try await Pod(network, ports: [Self.web]), try await Pod(network))
        try await expect(a, b, reaches: false)
        try await expect(b, a, reaches: false)
        _ = try await network.counted(4, .isolated)
        let server = try await Endpoint.make(a.attachment.namespace, .tcp, port: 80)
        #expect(try await Endpoint.make(b.attachment.namespace, .tcp).connect(to: "10.244.1.1", 8080) == 0)
        #expect(server.acceptedPeer() == b.lease.ipv4)
        #expect(try await Endpoint.make(nil, .tcp).connect(to: a.lease.ipv4 ?? "", 80) == 0)
      }
    }

    /// Groups hold across a restart, and go with their last pod.
    @Test func podsOfOneGroupReachEachOther() async throws {
      let configuration = configuration { $0.isolation = .label }
      try await KernelRoom.withNetwork(configuration) { first in
        let blue = TrafficOptions(group: "blue-1.x_y")
        let (a, b) = (try await Pod(first, traffic: blue), try await Pod(first, traffic: blue))
        let red = try await Pod(first, traffic: TrafficOptions(group: "red"))
        let (alone, other) = (try await Pod(first), try await Pod(first))
        func expectGroups() async throws {
          try await expect(a, b, reaches: true)
          try await expect(b, a, reaches: true)
          for (from, to) in [(a, red), (red, a), (alone, a), (a, alone), (alone, other)] {
            try await expect(from, to, reaches: false)
          }
        }
        try await expectGroups()
        #expect(await first.readiness() == .ready)
        await first.shutdown()
        let live = [a.id: a.lease, b.id: b.lease, red.id: red.lease, alone.id: alone.lease, other.id: other.lease]
        let second = try await PodNetwork.open(
          configuration, liveSandboxes: live, traffic: [a.id: blue, b.id: blue, red.id: TrafficOptions(group: "red")],
          logger: KernelRoom.logger)
        #expect(second.report == NetworkReport())
        try await expectGroups()
        for pod in [a, b, red] { await second.detach(sandbox: pod.id, lease: pod.lease) }
        #expect(second.host.rules.groups.isEmpty)
        let chains = try KernelRoom.command("nft list table inet podnet")
        #expect(!chains.contains("group_") && !chains.contains("member4_"))
        #expect(await second.readiness() == .ready)
        await second.shutdown()
      }
    }

    @Test func anInternalNetworkHasNoWayOut() async throws {
      try await KernelRoom.withNetwork(configuration { $0.isInternal = true }) { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let (a, b) = (try await Pod(network, ports: [Self.web]), try await Pod(network))
        let routes = try await KernelRoom.inside(a.attachment.namespace) {
          let socket = try NetlinkSocket(family: NETLINK_ROUTE)
          return try AddressFamily.allCases.flatMap { try socket.routes($0) }.map(\.destination.description)
        }
        #expect(routes.contains("10.244.0.0/16") && routes.contains("fd44::/16"))
        #expect(!routes.contains("0.0.0.0/0") && !routes.contains("::/0"))
        try await expect(a, b, reaches: true)
        // What a pod with NET_ADMIN may do to itself does not help it.
        for (address, gateway) in [
          (Outside.address, "10.244.1.1"), (Outside.address6, "fe80::1"),
        ] {
          let family: AddressFamily = address.contains(":") ? .ipv6 : .ipv4
          let way = try #require(IPAddress(gateway))
          try await KernelRoom.inside(a.attachment.namespace) {
            _ = try NetlinkSocket(family: NETLINK_ROUTE).run { batch throws(NetworkError) in
              try batch.add(
                "add route", "eth0",
                RouteMessage.route(2, to: AddressBlock(IPAddress(family, 0), prefix: 0), via: way))
            }
          }
          let server = try await Endpoint.make(outside.namespace, port: 53, family: family)
          let client = try await Endpoint.make(a.attachment.namespace, family: family)
          #expect(client.send("out", to: address, 53) == 0)
          #expect(server.receive(milliseconds: 80) == nil)
        }
        #expect(try await network.counted(2, .internalOnly).packets == 2)
        // A published port is still served, by way of the gateway: the pod knows no way to the client.
        let pod = try await Endpoint.make(b.attachment.namespace, .tcp, port: 80)
        withExtendedLifetime(pod) {}
        let server = try await Endpoint.make(a.attachment.namespace, .tcp, port: 80)
        #expect(try await Endpoint.make(outside.namespace, .tcp).connect(to: Outside.nodeAddress, 8080) == 0)
        #expect(server.acceptedPeer() == "10.244.1.1")
        #expect(try await Endpoint.make(nil, .tcp).connect(to: a.lease.ipv4 ?? "", 80) == 0)
      }
    }

    /// `direct_access`: unpublished ports from beyond the node; a false cluster address helps nobody.
    @Test(arguments: NetworkConfiguration.DirectAccess.allCases)
    func whoFromBeyondTheNodeReachesPods(access: NetworkConfiguration.DirectAccess) async throws {
      try await KernelRoom.withNetwork(configuration { $0.directAccess = access }) { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let pod = try await Pod(network)
        for (family, target, liar) in [
          (AddressFamily.ipv4, pod.lease.ipv4 ?? "", "10.244.7.7"), (.ipv6, pod.lease.ipv6 ?? "", "fd44:7::7"),
        ] {
          let server = try await Endpoint.make(pod.attachment.namespace, port: 9, family: family)
          let honest = try await Endpoint.make(outside.namespace, family: family)
          #expect(honest.send("honest", to: target, 9) == 0)
          let heard = server.receive(milliseconds: access == .any ? Endpoint.patience : 80)?.text
          #expect(heard == (access == .any ? "honest" : nil))
          let stolen = try #require(IPAddress(liar))
          try await KernelRoom.inside(outside.namespace) {
            _ = try NetlinkSocket(family: NETLINK_ROUTE).run { batch throws(NetworkError) in
              try batch.add("add", liar, RouteMessage.address(2, stolen, prefix: family.width))
            }
          }
          let spoofer = try await Endpoint.make(outside.namespace, bind: liar)
          #expect(spoofer.send("lie", to: target, 9) == 0)
          #expect(server.receive(milliseconds: 80) == nil)
        }
        #expect(try await network.counted(2, .spoofedCluster).packets == 2)
        let incoming: UInt64 = access == .any ? 0 : 2
        #expect(try await network.counted(incoming, .incoming).packets == incoming)
      }
    }
  }
}
