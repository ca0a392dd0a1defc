import CNetlink
import Glibc
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  /// NETWORK.md 5.4, routed and isolated.
  @Suite struct HostPortTests {
    private static let web = HostPort(transport: .tcp, hostPort: 8080, containerPort: 80)

    @Test func everybodyReachesAPublishedPort() async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let pod = try await Pod(network, ports: [Self.web])
        let other = try await Pod(network)
        let server = try await Endpoint.make(pod.attachment.namespace, .tcp, port: 80)
        // From outside and from another pod, with the client's own address.
        for (from, to, seen) in [
          (outside.namespace, Outside.nodeAddress, Outside.address),
          (other.attachment.namespace, "10.244.1.1", other.lease.ipv4 ?? ""),
          (pod.attachment.namespace, "10.244.1.1", "10.244.1.1"),
        ] {
          #expect(try await Endpoint.make(from, .tcp).connect(to: to, 8080) == 0)
          #expect(server.acceptedPeer() == seen)
        }
        // From the node itself.
        for to in [Outside.nodeAddress, "127.0.0.1"] {
          #expect(try await Endpoint.make(nil, .tcp).connect(to: to, 8080) == 0)
          #expect(server.acceptedPeer() != nil)
        }
        #expect(try await Endpoint.make(outside.namespace, .tcp).connect(to: Outside.nodeAddress, 8081) == ECONNREFUSED)
        await network.detach(sandbox: pod.id, lease: pod.lease)
        #expect(
          try await Endpoint.make(outside.namespace, .tcp).connect(to: Outside.nodeAddress, 8080) == ECONNREFUSED)
      }
    }

    @Test func ipv6Too() async throws {
      try await KernelRoom.withNetwork { network in
        let (pod, other) = (try await Pod(network, ports: [Self.web]), try await Pod(network))
        let server = try await Endpoint.make(pod.attachment.namespace, .tcp, port: 80, family: .ipv6)
        let client = try await Endpoint.make(other.attachment.namespace, .tcp, family: .ipv6)
        #expect(client.connect(to: "fd44:1::1", 8080) == 0)
        #expect(server.acceptedPeer() == other.lease.ipv6)
      }
    }

    /// CVE-2025-67499, ATTACKS.md N01: what only passes the node is nobody's host port.
    @Test func trafficToOthersIsNotDiverted() async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let pod = try await Pod(network, ports: [Self.web])
        let thief = try await Endpoint.make(pod.attachment.namespace, .tcp, port: 80)
        let owner = try await Endpoint.make(outside.namespace, .tcp, port: 8080)
        let other = try await Pod(network)
        #expect(try await Endpoint.make(other.attachment.namespace, .tcp).connect(to: Outside.address, 8080) == 0)
        #expect(owner.acceptedPeer() == Outside.nodeAddress)
        #expect(thief.acceptedPeer(milliseconds: 100) == nil)
      }
    }

    @Test func aTakenPortIsNamed() async throws {
      try await KernelRoom.withNetwork { network in
        let listener = try await Endpoint.make(nil, .tcp, port: 8080)
        let error = await #expect(throws: NetworkError.self) { _ = try await Pod(network, ports: [Self.web]) }
        #expect(error?.description == "host port tcp 0.0.0.0:8080 is already published by a process of the node")
        withExtendedLifetime(listener) {}
        // Nothing of the failed attach is left.
        try await KernelRoom.eventually("the link is gone") { network.ledger.withLock { $0.indexes.isEmpty } }
        #expect(network.ledger.withLock { $0.claims.owners.isEmpty && $0.allocator.used == 0 })
      }
      try await KernelRoom.withNetwork { network in
        let pod = try await Pod(network, ports: [Self.web])
        let error = await #expect(throws: NetworkError.self) { _ = try await Pod(network, ports: [Self.web]) }
        #expect("\(error, default: "")".hasSuffix("is already published by sandbox \(pod.id.short)"))
        await #expect(throws: TestFailure.self) { _ = try await Endpoint.make(nil, .tcp, port: 8080) }
        await network.detach(sandbox: pod.id, lease: pod.lease)
        _ = try await Pod(network, ports: [Self.web])
      }
    }

    /// Kubernetes #59286: a flow that was there before its port must find the pod.
    @Test func anOldFlowFindsTheNewPod() async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let client = try await Endpoint.make(outside.namespace, port: 4444)
        #expect(client.send("early", to: Outside.nodeAddress, 5353) == 0)
        let port = HostPort(transport: .udp, hostPort: 5353, containerPort: 53)
        for _ in 0..<2 {
          let pod = try await Pod(network, ports: [port])
          let server = try await Endpoint.make(pod.attachment.namespace, port: 53)
          // The refusal of an earlier datagram may be reported first.
          _ = client.send("again", to: Outside.nodeAddress, 5353)
          _ = client.send("again", to: Outside.nodeAddress, 5353)
          #expect(server.receive()?.from == Outside.address)
          await network.detach(sandbox: pod.id, lease: pod.lease)
        }
      }
    }

    @Test func portsOutliveTheDaemon() async throws {
      try await KernelRoom.withNetwork { first in
        let pod = try await Pod(first, ports: [Self.web])
        await first.shutdown()
        let second = try await PodNetwork.open(
          KernelRoom.configuration(), liveSandboxes: [pod.id: pod.lease], publishedPorts: [pod.id: [Self.web]],
          logger: KernelRoom.logger)
        let server = try await Endpoint.make(pod.attachment.namespace, .tcp, port: 80)
        #expect(try await Endpoint.make(nil, .tcp).connect(to: "127.0.0.1", 8080) == 0)
        #expect(server.acceptedPeer() == "10.244.1.1")
        await second.detach(sandbox: pod.id, lease: pod.lease)
        #expect(try await Endpoint.make(nil, .tcp).connect(to: "127.0.0.1", 8080) == ECONNREFUSED)
        await second.shutdown()
      }
    }
  }
}
