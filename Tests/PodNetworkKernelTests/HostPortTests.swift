import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  /// NETWORK.md 5.4, routed and isolated.
  @Suite struct HostPortTests {
    private static let web = HostPort(transport: .tcp, hostPort: 8080, containerPort: 80)

    /// Each way to a port with the address that the server sees; nil: any of the node's.
    private func ways(_ pod: Pod, _ other: Pod, _ outside: Outside) -> [(SharedFD?, to: String, seen: String?)] {
      [
        (outside.namespace, Outside.nodeAddress, Outside.address),
        (outside.namespace, Outside.nodeAddress6, Outside.address6),
        (other.attachment.namespace, "10.244.1.1", other.lease.ipv4),
        (other.attachment.namespace, "fd44:1::1", other.lease.ipv6),
        (other.attachment.namespace, Outside.nodeAddress, other.lease.ipv4),
        (other.attachment.namespace, Outside.nodeAddress6, other.lease.ipv6),
        (pod.attachment.namespace, "10.244.1.1", "10.244.1.1"),
        (pod.attachment.namespace, Outside.nodeAddress, "10.244.1.1"),
        (pod.attachment.namespace, "fd44:1::1", nil), (pod.attachment.namespace, Outside.nodeAddress6, nil),
        (nil, Outside.nodeAddress, nil), (nil, Outside.nodeAddress6, nil), (nil, "10.244.1.1", nil),
        (nil, "fd44:1::1", nil), (nil, "127.0.0.1", "10.244.1.1"),
      ]
    }

    @Test(arguments: [HostPort.TransportProtocol.tcp, .udp])
    func everybodyReachesAPublishedPort(transport: HostPort.TransportProtocol) async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let port = HostPort(transport: transport, hostPort: 8080, containerPort: 80)
        let (pod, other) = (try await Pod(network, ports: [port]), try await Pod(network))
        let kind: Endpoint.Kind = transport == .tcp ? .tcp : .udp
        let servers = try await [AddressFamily.ipv4, .ipv6].map(asynchronously: { family in
          try await Endpoint.make(pod.attachment.namespace, kind, port: 80, family: family)
        })
        for (from, to, seen) in ways(pod, other, outside) {
          let family: AddressFamily = to.contains(":") ? .ipv6 : .ipv4
          let client = try await Endpoint.make(from, kind, family: family)
          let peer: String?
          if transport == .tcp {
            #expect(client.connect(to: to, 8080) == 0, "to \(to)")
            peer = servers[family == .ipv4 ? 0 : 1].acceptedPeer()
          } else {
            #expect(client.send("question", to: to, 8080) == 0)
            let server = servers[family == .ipv4 ? 0 : 1]
            let question = try #require(server.receive(), "to \(to)")
            #expect(server.send("answer", to: question.from, question.port) == 0)
            let answer = try #require(client.receive(), "from \(to)")
            #expect(answer.text == "answer" && answer.from == to && answer.port == 8080)
            peer = question.from
          }
          #expect(peer != nil && (seen == nil || peer == seen), "to \(to)")
        }
        // The kernel translates nothing to ::1, and the port next to it is nobody's.
        guard transport == .tcp else { return }
        #expect(try await Endpoint.make(nil, .tcp, family: .ipv6).connect(to: "::1", 8080) == ECONNREFUSED)
        let stranger = try await Endpoint.make(outside.namespace, .tcp)
        #expect(stranger.connect(to: Outside.nodeAddress, 8081) == ECONNREFUSED)
        await network.detach(sandbox: pod.id, lease: pod.lease)
        #expect(
          try await Endpoint.make(outside.namespace, .tcp).connect(to: Outside.nodeAddress, 8080) == ECONNREFUSED)
      }
    }

    /// `host_ports = { localhost = false }`, and without `reserve`.
    @Test func loopbackAndReservationCanBeOff() async throws {
      var configuration = KernelRoom.configuration()
      configuration.hostPorts = NetworkConfiguration.HostPorts(reserve: false, localhost: false)
      try await KernelRoom.withNetwork(configuration) { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let local = HostPort(transport: .tcp, hostPort: 8081, containerPort: 80, hostIP: "127.0.0.1")
        let error = await #expect(throws: NetworkError.self) { _ = try await Pod(network, ports: [local]) }
        #expect(error?.description == "host port 8081 is for 127.0.0.1, and network.host_ports.localhost is false")
        let pod = try await Pod(network, ports: [Self.web])
        let server = try await Endpoint.make(pod.attachment.namespace, .tcp, port: 80)
        for (from, to) in [(outside.namespace, Outside.nodeAddress), (nil, Outside.nodeAddress)] {
          #expect(try await Endpoint.make(from, .tcp).connect(to: to, 8080) == 0)
          #expect(server.acceptedPeer() != nil)
        }
        #expect(Sysctl.read("ipv4/conf/podbr0/route_localnet") == "0")
        // The loopback is the node's own, and so is the port.
        let own = try await Endpoint.make(nil, .tcp, bind: "127.0.0.1", port: 8080)
        #expect(try await Endpoint.make(nil, .tcp).connect(to: "127.0.0.1", 8080) == 0)
        #expect(own.acceptedPeer() == "127.0.0.1")
      }
    }

    /// A hand-made INIT (RFC 9260), since not every kernel has SCTP sockets.
    @Test func sctpIsTranslated() async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let pod = try await Pod(
          network, ports: [HostPort(transport: .sctp, hostPort: 9899, containerPort: 99)])
        let server = try await SCTP.socket(pod.attachment.namespace)
        let client = try await SCTP.socket(outside.namespace)
        #expect(client.send(SCTP.initiation(from: 4444, to: 9899), to: Outside.nodeAddress, 0) == 0)
        // Raw sockets of IPv4 see the header, too.
        let packet = try #require(server.receiveBytes()).dropFirst(20)
        #expect(Array(packet) == SCTP.initiation(from: 4444, to: 99))
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

    /// Its connections hold the port for a minute more, as far as the kernel is concerned.
    @Test func aPortOfAProcessThatHasEndedIsFree() async throws {
      try await KernelRoom.withNetwork { network in
        try await {
          let listener = try await Endpoint.make(nil, .tcp, port: 8080)
          let client = try await Endpoint.make(nil, .tcp)
          #expect(client.connect(to: "127.0.0.1", 8080) == 0)
          // Who closes first is left with the connection.
          #expect(listener.acceptedPeer() == "127.0.0.1")
        }()
        try await KernelRoom.eventually("its connection is left") {
          try KernelRoom.command("ss -Htan state time-wait sport = :8080").contains("127.0.0.1")
        }
        let pod = try await Pod(network, ports: [Self.web])
        await #expect(throws: TestFailure.self) { _ = try await Endpoint.make(nil, .tcp, port: 8080) }
        await network.detach(sandbox: pod.id, lease: pod.lease)
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
          try await network.host.flows.settled()
          // The refusal of an earlier datagram may be reported first.
          _ = client.send("again", to: Outside.nodeAddress, 5353)
          _ = client.send("again", to: Outside.nodeAddress, 5353)
          #expect(server.receive()?.from == Outside.address)
          await network.detach(sandbox: pod.id, lease: pod.lease)
        }
      }
    }

    /// A client that uses its port number again must not be led to a pod that is gone.
    @Test func anOldConnectionLeadsToNoDeadPod() async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        for _ in 0..<2 {
          let pod = try await Pod(network, ports: [Self.web])
          let server = try await Endpoint.make(pod.attachment.namespace, .tcp, port: 80)
          let client = try await Endpoint.make(
            outside.namespace, .tcp, bind: Outside.address, port: 4444, listens: false)
          #expect(client.connect(to: Outside.nodeAddress, 8080) == 0)
          #expect(server.acceptedPeer() == Outside.address)
          client.fallSilent()
          await network.detach(sandbox: pod.id, lease: pod.lease)
          try await network.host.flows.settled()
        }
      }
    }

    /// A daemon that died between a rule and the flows: the next one makes up for it.
    @Test func flowsThatADaemonLeftAreForgotten() async throws {
      try await KernelRoom.withNetwork { first in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let client = try await Endpoint.make(outside.namespace, port: 4444)
        let port = HostPort(transport: .udp, hostPort: 5353, containerPort: 53)
        let (old, new) = (try await Pod(first, ports: [port]), try await Pod(first))
        try await first.host.flows.settled()
        #expect(client.send("old", to: Outside.nodeAddress, 5353) == 0)
        await first.shutdown()
        // In its records the port is another sandbox's by now.
        let second = try await PodNetwork.open(
          KernelRoom.configuration(), liveSandboxes: [old.id: old.lease, new.id: new.lease],
          publishedPorts: [new.id: [port]], logger: KernelRoom.logger)
        try await second.host.flows.settled()
        let server = try await Endpoint.make(new.attachment.namespace, port: 53)
        #expect(client.send("new", to: Outside.nodeAddress, 5353) == 0)
        #expect(server.receive()?.text == "new")
        await second.shutdown()
      }
    }

    /// The walks for flows older than a port, and for an earlier daemon's, may come late: a flow to what was published
    /// meanwhile is none of them, of either family.
    @Test(arguments: [Outside.nodeAddress, "fd44:1::1"]) func lateWalksSpareNewFlows(to: String) async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let port = HostPort(transport: .udp, hostPort: 5353, containerPort: 53)
        let pod = try await Pod(network, ports: [port])
        let family: AddressFamily = to.contains(":") ? .ipv6 : .ipv4
        let server = try await Endpoint.make(pod.attachment.namespace, port: 53, family: family)
        try await network.host.flows.settled()
        let client = try await Endpoint.make(
          family == .ipv4 ? outside.namespace : Pod(network).attachment.namespace, family: family)
        #expect(client.send("question", to: to, 5353) == 0)
        let question = try #require(server.receive())
        network.host.flows.appeared(Set(network.ledger.withLock { $0.claims.all }))
        try await network.host.flows.settled()
        network.host.flows.reconcile(published: [])
        try await network.host.flows.settled()
        #expect(server.send("answer", to: question.from, question.port) == 0)
        let answer = try #require(client.receive())
        #expect(answer.from == to && answer.port == 5353)
      }
    }

    /// What goes through the node to somebody else's port of the same number is left alone.
    @Test func flowsOfOthersStay() async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let client = try await Pod(network)
        let asker = try await Endpoint.make(client.attachment.namespace)
        #expect(asker.send("question", to: Outside.address, 5399) == 0)
        // No other test's port: their flows are in the same table.
        let port = HostPort(transport: .udp, hostPort: 5399, containerPort: 53)
        let pod = try await Pod(network, ports: [port])
        await network.detach(sandbox: pod.id, lease: pod.lease)
        try await network.host.flows.settled()
        let netfilter = try NetlinkSocket(family: NETLINK_NETFILTER)
        var destinations: [String] = []
        _ = try netfilter.forgetConnections(.ipv4, to: (.udp, 5399)) { flow in
          destinations.append(flow.destination.description)
          return false
        }
        #expect(destinations == [Outside.address])
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

extension Array {
  fileprivate func map<Value>(asynchronously body: (Element) async throws -> Value) async throws -> [Value] {
    var values: [Value] = []
    for element in self { values.append(try await body(element)) }
    return values
  }
}
