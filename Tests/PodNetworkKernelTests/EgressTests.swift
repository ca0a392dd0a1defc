import Glibc
import RuntimeModel
import Testing

@testable import PodNetwork

extension KernelTests {
  /// Under which address the world sees a pod.
  @Suite struct EgressTests {
    struct Case: Sendable, CustomTestStringConvertible {
      var testDescription: String
      /// What is seen of IPv4 and IPv6; nil: the pod's own.
      var seen: [String?]
      var change: @Sendable (inout NetworkConfiguration) -> Void
    }

    @Test(arguments: [
      Case(testDescription: "masquerade", seen: [Outside.nodeAddress, Outside.nodeAddress6]) { _ in },
      Case(testDescription: "masquerade6 = false", seen: [Outside.nodeAddress, nil]) { $0.masquerade6 = false },
      Case(testDescription: "masquerade = false", seen: [nil, nil]) { $0.masquerade = false },
      Case(testDescription: "masquerade6 alone", seen: [nil, Outside.nodeAddress6]) {
        $0.masquerade = false
        $0.masquerade6 = true
      },
      Case(testDescription: "source_ips", seen: ["192.0.2.77", "2001:db8::77"]) {
        $0.sourceIPs = ["192.0.2.77", "2001:db8::77"]
      },
      Case(testDescription: "non_masquerade_cidrs", seen: [nil, nil]) {
        $0.nonMasqueradeCIDRs = ["192.0.2.0/24", "2001:db8::/64"]
      },
    ])
    func theWorldSees(one: Case) async throws {
      var configuration = KernelRoom.configuration()
      one.change(&configuration)
      try await KernelRoom.withNetwork(configuration) { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let pod = try await Pod(network)
        for (index, target) in [Outside.address, Outside.address6].enumerated() {
          let family = AddressFamily.allCases[index]
          let server = try await Endpoint.make(outside.namespace, port: 53, family: family)
          let client = try await Endpoint.make(pod.attachment.namespace, family: family)
          #expect(client.send("out", to: target, 53) == 0)
          #expect(server.receive()?.from == one.seen[index] ?? pod.lease.addresses[index])
        }
        let counts = try await network.ruleCounters()
        #expect([counts[.masqueraded4].packets, counts[.masqueraded6].packets] == one.seen.map { $0 == nil ? 0 : 1 })
        #expect(counts.spoofed.packets == 0)
        #expect((counts.connections ?? 0) > 0 && (counts.connectionLimit ?? 0) > 0)
      }
    }

    /// A replacement of the tables does not make the counters begin anew.
    @Test func countersOutliveTheTables() async throws {
      try await KernelRoom.withNetwork { network in
        let outside = try await Outside()
        defer { try? outside.remove() }
        let pod = try await Pod(network)
        #expect(try await Endpoint.make(pod.attachment.namespace).send("out", to: Outside.address, 53) == 0)
        let before = try await network.counted(1, .masqueraded4)
        #expect(before.packets == 1 && before.bytes > 0)
        _ = try await network.writer.run { [host = network.host] () throws(NetworkError) in try host.replaceRules() }
        #expect(try await network.ruleCounters()[.masqueraded4] == before)
      }
    }
  }
}
