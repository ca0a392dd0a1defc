import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Testing

@testable import PodNetwork

extension KernelTests {
  /// NETWORK.md D1: both ways of addressing, each with either family and with both.
  @Suite struct AddressingTests {
    struct Shape: Sendable, CustomTestStringConvertible {
      var addressing: NetworkConfiguration.Addressing
      var blocks: [String]
      var testDescription: String { "\(addressing) \(blocks.joined(separator: " "))" }

      var configuration: NetworkConfiguration {
        var configuration = KernelRoom.configuration()
        configuration.addressing = addressing
        configuration.podCIDRs = blocks
        return configuration
      }
    }

    static let shapes = NetworkConfiguration.Addressing.allCases.flatMap { addressing in
      [["10.244.7.0/24"], ["fd44:7::/64"], ["10.244.7.0/24", "fd44:7::/64"]].map {
        Shape(addressing: addressing, blocks: $0)
      }
    }

    @Test(arguments: shapes) func everybodyReachesAPodUnderItsAddress(shape: Shape) async throws {
      try await KernelRoom.withNetwork(shape.configuration) { network in
        let web = HostPort(transport: .tcp, hostPort: 8080, containerPort: 80)
        let (a, b) = (try await Pod(network), try await Pod(network, ports: [web]))
        #expect(a.lease.addresses.count == shape.blocks.count)
        try await checkInside(b, shape, network.plan)
        for (from, to) in zip(a.lease.addresses, b.lease.addresses) {
          let family: AddressFamily = to.contains(":") ? .ipv6 : .ipv4
          let server = try await Endpoint.make(b.attachment.namespace, .tcp, port: 80, family: family)
          let gateway = family == .ipv4 ? "10.244.7.1" : "fd44:7::1"
          #expect(try await connect(a, to, 80) == 0)
          #expect(server.acceptedPeer() == from)
          #expect(try await connect(nil, to, 80) == 0)
          #expect(server.acceptedPeer() == gateway)
          // Host ports: from the pod itself, and from its neighbour, whose address survives only where all is routed.
          #expect(try await connect(b, gateway, 8080) == 0)
          #expect(server.acceptedPeer() != nil)
          #expect(try await connect(a, gateway, 8080) == 0)
          #expect(server.acceptedPeer() == (shape.addressing == .routed ? from : gateway))
        }
        #expect(await network.readiness() == .ready)
      }
    }

    /// With forwarding off, only what needs no router arrives.
    @Test(arguments: shapes) func onlySwitchedPodsNeedNoRouter(shape: Shape) async throws {
      try await KernelRoom.withNetwork(shape.configuration) { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        for sysctl in network.plan.forwardingSysctls { #expect(Sysctl.write(sysctl, "0") == 0) }
        defer { for sysctl in network.plan.forwardingSysctls { _ = Sysctl.write(sysctl, "1") } }
        for to in b.lease.addresses {
          let family: AddressFamily = to.contains(":") ? .ipv6 : .ipv4
          let server = try await Endpoint.make(b.attachment.namespace, .tcp, port: 80, family: family)
          let isSwitched = shape.addressing == .switched
          let reached = try await connect(a, to, 80, milliseconds: isSwitched ? Endpoint.patience : 100) == 0
          #expect(reached == isSwitched)
          #expect((server.acceptedPeer(milliseconds: isSwitched ? Endpoint.patience : 0) != nil) == isSwitched)
        }
      }
    }

    private func checkInside(_ pod: Pod, _ shape: Shape, _ plan: NetworkPlan) async throws {
      let link = try #require(MACAddress(pod.lease.mac)).linkLocal
      let (addresses, mac, neighbours) = try await KernelRoom.inside(pod.attachment.namespace) {
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        let neighbours = try [AF_INET, AF_INET6].map { try socket.fixedNeighbours(family: $0) }
        return (try socket.addresses(of: 2), try socket.link(index: 2)?.mac, neighbours.flatMap { $0 })
      }
      var expected = Set(
        pod.lease.addresses.compactMap { IPAddress($0) }.map { address in
          let shared = address.family == .ipv4 ? 24 : 64
          return InterfaceAddress(
            address: address, prefix: shape.addressing == .switched ? shared : address.family.width)
        })
      // The kernel gives it that one, whatever the pods' families are.
      expected.insert(InterfaceAddress(address: link, prefix: 64))
      #expect(addresses == expected)
      #expect(mac == MACAddress(pod.lease.mac)?.bytes)
      let gateways = Set(neighbours.filter { $0.mac == plan.bridgeMAC }.compactMap { $0.address?.description })
      #expect(gateways == Set(shape.blocks.map { $0.contains(":") ? "fe80::1" : "10.244.7.1" }))
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
