import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  /// NETWORK.md D12: namespaces that wait, silently, with address and link.
  @Suite struct PoolTests {
    private func configuration(_ size: Int) -> NetworkConfiguration {
      var configuration = KernelRoom.configuration()
      configuration.pool = size
      return configuration
    }

    private func isFull(_ network: PodNetwork) async throws {
      try await KernelRoom.eventually("the pool is full") {
        network.ledger.withLock { $0.pool.ready.count == $0.pool.size }
      }
    }

    @Test func aPodOfThePoolIsLikeAnyOther() async throws {
      try await KernelRoom.withNetwork(configuration(3)) { network in
        try await isFull(network)
        let spares = network.ledger.withLock { $0.pool.ready }
        #expect(spares.map(\.number) == [2, 3, 4])
        let space = try #require(spares.first?.namespace).descriptor
        let node = try await Endpoint.make(nil, port: 7)
        let sender = try await Endpoint.make(space)
        // Silent both ways: its port is locked, and nobody has an entry for it.
        _ = sender.send("too early", to: "10.244.1.1", 7)
        #expect(node.receive(milliseconds: 100) == nil)
        #expect(try await Endpoint.make(nil, .tcp).connect(to: "10.244.1.2", 80, milliseconds: 100) != 0)
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        #expect(try socket.link(named: "pod0af40102")?.alias == "podnet:spare")

        let web = HostPort(transport: .tcp, hostPort: 8080, containerPort: 80)
        let (a, b) = (try await Pod(network, ports: [web]), try await Pod(network))
        #expect(a.lease.ipv4 == "10.244.1.2" && b.lease.ipv4 == "10.244.1.3")
        #expect(a.attachment.namespace.raw == space.raw)
        #expect(a.attachment.timings.map(\.step) == ["pool", "queue", "host", "ports", "all"])
        #expect(try socket.link(named: "pod0af40102")?.alias == "podnet:\(a.id)")
        for (number, to) in a.lease.addresses.enumerated() {
          let family = AddressFamily.allCases[number]
          let server = try await Endpoint.make(a.attachment.namespace, .tcp, port: 80, family: family)
          let gateway = ["10.244.1.1", "fd44:1::1"][number]
          for (client, at, port, seen) in [
            (b.attachment.namespace as SharedFD?, to, UInt16(80), b.lease.addresses[number]),
            (b.attachment.namespace, gateway, 8080, b.lease.addresses[number]), (nil, to, 80, gateway),
          ] {
            #expect(try await Endpoint.make(client, .tcp, family: family).connect(to: at, port) == 0)
            #expect(server.acceptedPeer() == seen)
          }
        }
        try await isFull(network)
        #expect(network.ledger.withLock { $0.portCounts } == [0: 5])
        await network.detach(sandbox: a.id, lease: a.lease)
        #expect(try await Endpoint.make(nil, .tcp).connect(to: "10.244.1.2", 80, milliseconds: 100) != 0)
      }
    }

    @Test func whatSomebodyTookAwayIsMadeAnew() async throws {
      try await KernelRoom.withNetwork(configuration(2)) { network in
        try await isFull(network)
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        func remove(_ name: String) throws {
          let index = try socket.link(named: name)?.index ?? 0
          try socket.run { batch throws(NetworkError) in try batch.add("remove", name, RouteMessage.delete(index)) }
        }
        // One that nobody has chosen: the next comes in its place.
        try remove("pod0af40102")
        try await KernelRoom.eventually("another is ready") {
          network.ledger.withLock { $0.pool.ready.map(\.number) } == [3, 4]
        }
        // One that a sandbox has, out of its bridge: its pair is made anew, under the same address.
        let lease = try network.reserveLease()
        #expect(lease.ipv4 == "10.244.1.3")
        let index = try socket.link(named: "pod0af40103")?.index ?? 0
        try socket.run { batch throws(NetworkError) in
          try batch.add("take out", "pod0af40103", RouteMessage.setMaster(index, bridge: 0))
        }
        let id = Identifier.random()
        let attachment = try await network.attach(sandbox: id, lease: lease)
        #expect(attachment.timings.contains { $0.step == "veth" })
        let server = try await Endpoint.make(attachment.namespace, .tcp, port: 80)
        #expect(try await Endpoint.make(nil, .tcp).connect(to: "10.244.1.3", 80) == 0)
        #expect(server.acceptedPeer() != nil)
        // One that was chosen in vain rests, once its link is gone.
        try await isFull(network)
        let vain = try network.reserveLease()
        network.giveBack(vain)
        try await KernelRoom.eventually("its link is gone") { try socket.link(named: vain.hostInterface) == nil }
        try await KernelRoom.eventually("its address rests") {
          network.ledger.withLock { ledger in
            if case .resting = network.plan.number(of: vain).flatMap({ ledger.allocator.holdings[$0] }) {
              true
            } else {
              false
            }
          }
        }
        // The bridge: pods come back, and so does the pool.
        try remove("podbr0")
        try await KernelRoom.eventually("the pod is back") {
          try await Endpoint.make(nil, .tcp).connect(to: "10.244.1.3", 80, milliseconds: 200) == 0
        }
        try await isFull(network)
        let next = try await Pod(network)
        let listener = try await Endpoint.make(next.attachment.namespace, .tcp, port: 80)
        #expect(try await Endpoint.make(attachment.namespace, .tcp).connect(to: next.lease.ipv4 ?? "", 80) == 0)
        #expect(listener.acceptedPeer() == "10.244.1.3")
      }
    }

    /// The last tenth of the addresses is for pods, and none is lost to the pool.
    @Test func aSmallBlockIsUsedUp() async throws {
      var configuration = configuration(8)
      configuration.podCIDRs = ["10.244.9.0/28"]
      try await KernelRoom.withNetwork(configuration) { network in
        try await isFull(network)
        var pods: [Pod] = []
        for _ in 0..<13 { pods.append(try await Pod(network)) }
        #expect(Set(pods.compactMap(\.lease.ipv4)).count == 13)
        #expect(throws: NetworkError.self) { try network.reserveLease() }
        #expect(network.ledger.withLock { $0.pool.ready.isEmpty && !$0.wantsSpare(at: bootTime()) })
      }
    }

    @Test func nothingIsLeftAfterAShutdown() async throws {
      try await KernelRoom.withNetwork(configuration(4)) { first in
        let pod = try await Pod(first)
        try await isFull(first)
        await first.shutdown()
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        // A daemon that starts before the kernel has removed them, and one that was killed, find them so.
        let second = try await PodNetwork.open(
          configuration(0), liveSandboxes: [pod.id: pod.lease], logger: KernelRoom.logger)
        #expect(second.report.removedLinks.isEmpty && second.report.lostSandboxes.isEmpty)
        #expect(try socket.links().filter { $0.kind == "veth" }.map(\.name) == [pod.lease.hostInterface])
        await second.shutdown()
      }
    }
  }
}
