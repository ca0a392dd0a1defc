import Glibc
import RuntimeModel
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct TrafficTests {
    @Test func podsReachEachOtherWithTheirOwnAddresses() async throws {
      try await KernelRoom.withNetwork { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        for (to, from, family) in [
          (b.lease.ipv4 ?? "", a.lease.ipv4 ?? "", AddressFamily.ipv4),
          (b.lease.ipv6 ?? "", a.lease.ipv6 ?? "", .ipv6),
        ] {
          let server = try await Endpoint.make(b.attachment.namespace, .tcp, port: 80, family: family)
          // More than once: a redirect would only break the second.
          for _ in 0..<3 {
            let client = try await Endpoint.make(a.attachment.namespace, .tcp, family: family)
            #expect(client.connect(to: to, 80) == 0)
            #expect(server.acceptedPeer() == from)
          }
          // The node reaches pods too, as its bridge.
          let node = try await Endpoint.make(nil, .tcp, family: family)
          #expect(node.connect(to: to, 80) == 0)
          #expect(server.acceptedPeer() == (family == .ipv4 ? "10.244.1.1" : "fd44:1::1"))
        }
      }
    }

    @Test func containersOfOnePodShareItsLoopback() async throws {
      try await KernelRoom.withNetwork { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        let server = try await Endpoint.make(a.attachment.namespace, .tcp, bind: "127.0.0.1", port: 5678)
        #expect(try await Endpoint.make(a.attachment.namespace, .tcp).connect(to: "127.0.0.1", 5678) == 0)
        #expect(server.acceptedPeer() == "127.0.0.1")
        let other = try await Endpoint.make(b.attachment.namespace, .tcp)
        #expect(other.connect(to: a.lease.ipv4 ?? "", 5678) == ECONNREFUSED)
      }
    }

    @Test func outsideSeesTheNodeAndReachesNoPod() async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let pod = try await Pod(network)
        let server = try await Endpoint.make(outside.namespace, port: 53)
        let client = try await Endpoint.make(pod.attachment.namespace, port: 7777)
        #expect(client.send("out", to: Outside.address, 53) == 0)
        let seen = try #require(server.receive())
        #expect(seen.from == Outside.nodeAddress)
        #expect(server.send("back", to: seen.from, seen.port) == 0)
        #expect(client.receive()?.text == "back")
        // Nobody asked for this one.
        #expect(server.send("in", to: pod.lease.ipv4 ?? "", 7777) == 0)
        #expect(client.receive(milliseconds: 150) == nil)
      }
    }

    @Test func clusterDestinationsAreNotTranslated() async throws {
      var configuration = KernelRoom.configuration()
      configuration.nonMasqueradeCIDRs = ["192.0.2.0/24"]
      try await KernelRoom.withNetwork(configuration) { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let pod = try await Pod(network)
        let server = try await Endpoint.make(outside.namespace, port: 53)
        let client = try await Endpoint.make(pod.attachment.namespace)
        #expect(client.send("out", to: Outside.address, 53) == 0)
        #expect(server.receive()?.from == pod.lease.ipv4)
      }
    }

    /// NETWORK.md 5.5, ATTACKS.md N04.
    @Test func anotherSourceAddressIsDropped() async throws {
      try await KernelRoom.withNetwork { network in
        let (a, b, c) = (try await Pod(network), try await Pod(network), try await Pod(network))
        let server = try await Endpoint.make(b.attachment.namespace, port: 9)
        let honest = try await Endpoint.make(a.attachment.namespace)
        let stolen = try #require(c.lease.ipv4.flatMap { IPAddress($0) })
        try await KernelRoom.inside(a.attachment.namespace) {
          _ = try NetlinkSocket(family: 0).run { batch throws(NetworkError) in
            try batch.add("add", "eth0", RouteMessage.address(2, stolen, prefix: 32))
          }
        }
        let liar = try await Endpoint.make(a.attachment.namespace, bind: c.lease.ipv4)
        #expect(liar.send("lie", to: b.lease.ipv4 ?? "", 9) == 0)
        #expect(honest.send("truth", to: b.lease.ipv4 ?? "", 9) == 0)
        #expect(server.receive()?.text == "truth")
        #expect(server.receive(milliseconds: 100) == nil)
      }
    }

    /// ATTACKS.md N05: whatever route_localnet says, loopback services of the node are no pod's.
    @Test func theNodesLoopbackIsOutOfReach() async throws {
      try await KernelRoom.withNetwork { network in
        let pod = try await Pod(network)
        #expect(Sysctl.write("ipv4/conf/podbr0/route_localnet", "1") == 0)
        let server = try await Endpoint.make(nil, bind: "127.0.0.1", port: 9999)
        let client = try await Endpoint.make(pod.attachment.namespace)
        try await KernelRoom.inside(pod.attachment.namespace) {
          _ = Sysctl.write("ipv4/conf/eth0/route_localnet", "1")
          // Sends 127.0.0.1 to the bridge instead of to itself.
          _ = try NetlinkSocket(family: 0).run { batch throws(NetworkError) in
            try batch.add("set down", "lo", RouteMessage.change(1, up: false))
          }
        }
        _ = client.send("in", to: "127.0.0.1", 9999)
        #expect(server.receive(milliseconds: 150) == nil)
      }
    }
  }
}
