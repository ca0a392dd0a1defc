import CNetlink
import Glibc
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct OverviewTests {
    /// Everything is looked up in the kernel: what is changed after the network's own threads have ended is seen too.
    @Test func driftIsReadFromTheKernel() async throws {
      try await KernelRoom.withNetwork { network in
        let pod = try await Pod(network)
        let before = try await network.overview()
        let status = try #require(before.attachments[pod.id])
        #expect(status.drift == [] && status.state == .bound && status.linkState == "up")
        #expect(status.bridge == network.plan.bridge && status.lease == pod.lease)
        #expect(before.bridges.first?.ports == 1 && before.bridges.first?.isUp == true)
        #expect(before.blocks.map(\.used) == before.blocks.map { _ in 1 })
        #expect(before.blocks.map(\.leaked) == before.blocks.map { _ in 0 })
        // Nobody repairs from here on, nor does a look that has begun: it is over before the next job.
        network.health.withLock { $0.isClosed = true }
        try await network.writer.run { () throws(NetworkError) in }
        await network.shutdown()
        let routes = try NetlinkSocket(family: NETLINK_ROUTE)
        let mac = try #require(MACAddress(pod.lease.mac))
        let address = try #require(pod.lease.ipv4.flatMap { IPAddress($0) })
        let link = try routes.link(named: network.plan.bridge)
        let bridge = try #require(link).index
        try routes.run { batch throws(NetworkError) in
          try batch.add("remove", "forwarding entry", RouteMessage.forwarding(status.hostIndex, mac, remove: true))
          try batch.add("remove", "neighbour", RouteMessage.neighbour(bridge, address, nil))
        }
        #expect(
          try await network.overview().attachments[pod.id]?.drift == [
            "forwarding entry \(mac) is missing", "neighbour \(address) is missing on \(network.plan.bridge)",
          ])
        try routes.run { batch throws(NetworkError) in
          try batch.add("set down", "port", RouteMessage.change(status.hostIndex, up: false))
        }
        let down = try await network.overview().attachments[pod.id]
        #expect(down?.linkState == "down" && down?.drift.first == "\(pod.lease.hostInterface) is down")
        try routes.run { batch throws(NetworkError) in
          try batch.add("remove", "link", RouteMessage.delete(status.hostIndex))
        }
        let gone = try await network.overview().attachments[pod.id]
        #expect(gone?.linkState == "missing" && gone?.drift == ["interface \(pod.lease.hostInterface) is gone"])
      }
    }

    @Test func trafficIsAsThePodSeesIt() async throws {
      try await KernelRoom.withNetwork { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        let server = try await Endpoint.make(b.attachment.namespace, port: 9)
        let client = try await Endpoint.make(a.attachment.namespace)
        let before = try await network.overview().attachments
        for _ in 0..<10 {
          #expect(client.send(String(repeating: "x", count: 1000), to: b.lease.ipv4 ?? "", 9) == 0)
          #expect(server.receive() != nil)
        }
        let after = try await network.overview().attachments
        func grown(_ pod: Pod, _ count: KeyPath<LinkTraffic, UInt64>) -> UInt64 {
          (after[pod.id]?.traffic[keyPath: count] ?? 0) - (before[pod.id]?.traffic[keyPath: count] ?? 0)
        }
        #expect(grown(a, \.sentPackets) >= 10 && grown(a, \.sentBytes) >= 10_000 && grown(a, \.receivedBytes) < 1000)
        #expect(grown(b, \.receivedPackets) >= 10 && grown(b, \.receivedBytes) >= 10_000)
      }
    }
  }
}
