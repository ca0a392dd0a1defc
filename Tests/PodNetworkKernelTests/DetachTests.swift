import CNetlink
import Glibc
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct DetachTests {
    @Test func aDetachedPodIsSilentAtOnce() async throws {
      try await KernelRoom.withNetwork { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        let server = try await Endpoint.make(b.attachment.namespace, port: 9)
        let client = try await Endpoint.make(a.attachment.namespace)
        #expect(client.send("before", to: b.lease.ipv4 ?? "", 9) == 0)
        #expect(server.receive()?.text == "before")
        await network.detach(sandbox: a.id, lease: a.lease)
        _ = client.send("after", to: b.lease.ipv4 ?? "", 9)
        #expect(server.receive(milliseconds: 150) == nil)
        await network.detach(sandbox: a.id, lease: a.lease)
      }
    }

    @Test func theAddressRestsOnceTheLinkIsGone() async throws {
      try await KernelRoom.withNetwork { network in
        let lease = try await {
          let pod = try await Pod(network)
          await network.detach(sandbox: pod.id, lease: pod.lease)
          return pod.lease
        }()
        // The namespace's last holder is gone; the kernel removes the link in its own time.
        try await KernelRoom.eventually("the link is gone") { network.ledger.withLock { $0.indexes.isEmpty } }
        #expect(network.ledger.withLock { $0.allocator.used } == 0)
        #expect(network.ledger.withLock { $0.allocator.resting(at: bootTime()) } == 1)
        #expect(try network.reserveLease().ipv4 != lease.ipv4)
      }
    }

    @Test func aLinkThatLingersIsRemoved() async throws {
      try await KernelRoom.withNetwork { network in
        let pod = try await Pod(network)
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        let begin = ContinuousClock.now
        await network.detach(sandbox: pod.id, lease: pod.lease)
        let lingers = try socket.link(named: pod.lease.hostInterface) != nil
        #expect(lingers || ContinuousClock.now - begin > .seconds(1.9), "not before its time")
        try await KernelRoom.eventually("the link is gone") {
          try socket.link(named: pod.lease.hostInterface) == nil
        }
        #expect(ContinuousClock.now - begin > .seconds(1.9))
        try await KernelRoom.eventually("its address rests") {
          network.ledger.withLock { $0.allocator.resting(at: bootTime()) } == 1
        }
      }
    }

    @Test func aPodThatDiesKeepsItsLease() async throws {
      try await KernelRoom.withNetwork { network in
        let (id, lease) = try await {
          let pod = try await Pod(network)
          return (pod.id, pod.lease)
        }()
        try await KernelRoom.eventually("the link is gone") { network.ledger.withLock { $0.indexes.isEmpty } }
        #expect(network.ledger.withLock { $0.allocator.used } == 1)
        await network.detach(sandbox: id, lease: lease)
        #expect(network.ledger.withLock { $0.allocator.used } == 0)
      }
    }
  }
}
