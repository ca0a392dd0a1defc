import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  /// Steps of attach that fail or take too long: the error says which, and nothing stays (NETWORK.md 10).
  @Suite struct FailureTests {
    struct Case: Sendable, CustomTestStringConvertible {
      var points: String
      var kind: String
      /// How the error reads, with the pod's interface as `IF`.
      var text: String
      /// With one bridge at most where it is switched.
      var addressing = NetworkConfiguration.Addressing.routed
      /// Of an attach: long but where its end is what is looked at, and there enough for the steps before that end.
      var patience = Duration.seconds(60)
      var testDescription: String { points }
    }

    @Test(arguments: [
      Case(
        points: "net.attach.namespace=error:ENOSPC", kind: "namespace_limit",
        text: "make a network namespace: ENOSPC (see user.max_net_namespaces)"),
      Case(
        points: "net.attach.veth=error:EXFULL", kind: "bridge_full",
        text: "bridge podbr0 is full: the kernel allows 1023 ports", addressing: .switched),
      Case(points: "net.attach.veth=error:EEXIST", kind: "kernel", text: "create IF: EEXIST (failpoint)"),
      Case(
        points: "net.attach.inside=error:EINVAL", kind: "kernel",
        text: "add route to ::/0 by fe80::1 to eth0 of the pod: EINVAL (failpoint)"),
      Case(points: "net.attach.host=error:ENOBUFS", kind: "kernel", text: "look at podbr0: ENOBUFS (failpoint)"),
      Case(
        points: "net.attach.inside=stretch:5100", kind: "timeout",
        text: "attach: no time left for step \"host\" after 5 s", patience: .seconds(5)),
      Case(
        points: "net.attach.host=stretch:5100", kind: "timeout",
        text: "attach: no time left for step \"ports\" after 5 s", patience: .seconds(5)),
    ])
    func aStepThatFails(one: Case) async throws {
      var configuration = KernelRoom.configuration()
      configuration.addressing = one.addressing
      try await KernelRoom.withNetwork(configuration, patience: one.patience) { network in
        try Failpoint.arm(one.points)
        defer { _ = try? Failpoint.arm("") }
        let (id, lease) = (Identifier.random(), try network.reserveLease())
        let error = await #expect(throws: NetworkError.self) {
          _ = try await network.attach(sandbox: id, lease: lease)
        }
        #expect(error?.description == one.text.replacing("IF", with: lease.hostInterface))
        #expect(network.counters.attachErrors == [one.kind: 1])
        #expect(network.counters.attached == 0)
        await network.detach(sandbox: id, lease: lease)
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        try await KernelRoom.eventually("its interface is gone") {
          try socket.link(named: lease.hostInterface) == nil && network.ledger.withLock { $0.indexes.isEmpty }
        }
        #expect(network.ledger.withLock { $0.allocator.used } == 0)
        // Pods' own; the loopback has some of the kernel's, which come and go.
        #expect(try !socket.fixedNeighbours(family: AF_INET).contains { $0.mac.bytes.starts(with: [0x0a, 0x58]) })
        // The next one finds nothing in its way.
        try Failpoint.arm("")
        let pod = try await Pod(network)
        await network.detach(sandbox: pod.id, lease: pod.lease)
        #expect(network.counters.detached >= 1)
        #expect(network.counters.lost == 0)
      }
    }
  }
}
