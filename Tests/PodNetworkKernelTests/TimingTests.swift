import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct TimingTests {
    /// Prints the figures of NETWORK.md 12, which hold on an idle machine and with an optimised build. Only which steps
    /// an attach takes is expected here.
    @Test func attachWithAndWithoutThePool() async throws {
      var configuration = KernelRoom.configuration()
      configuration.podCIDRs = ["10.244.0.0/21", "fd44:1::/64"]
      try await KernelRoom.withNetwork(configuration) { network in
        let opened = ContinuousClock.now
        var pods: [Pod] = []
        for count in [0, 500] {
          let begin = ContinuousClock.now
          let missing = count - pods.count
          while pods.count < count { pods.append(try await Pod(network)) }
          let duration = ContinuousClock.now - begin
          if missing > 0 { print("\(missing) pods attached in \(duration), \(network.counters.looks) looks") }
          // What attaching makes the kernel tell must not be taken for somebody else's doing: no look but the one at the
          // start, after our own rules, that of each further block of pairs, whose news may come in two parts, and that
          // of each minute.
          #expect(network.counters.looks <= 6 + Int((ContinuousClock.now - opened).components.seconds / 60))
          #expect(network.counters.repairs.isEmpty)
          try await look(network)
          try await sample(network, "without the pool, \(count) pods")
          network.ledger.withLock { $0.pool.size = 8 }
          network.refill()
          try await sample(network, "with the pool, \(count) pods")
          network.ledger.withLock { ledger in
            ledger.pool.size = 0
            ledger.dropSpares(at: .zero)
          }
        }
      }
    }

    private func look(_ network: PodNetwork) async throws {
      let live = network.ledger.withLock { $0.live }
      let begin = ContinuousClock.now
      try await network.writer.run { [host = network.host] () throws(NetworkError) in
        _ = try host.ensureBridge(live: Array(live.values))
        try host.applySysctls()
        _ = try host.reconcile(live: live, removing: false)
        _ = try host.repairRoutes()
      }
      print("a look at \(live.count) pods: \(ContinuousClock.now - begin)")
    }

    private func sample(_ network: PodNetwork, _ text: String) async throws {
      let isPooled = network.ledger.withLock { $0.pool.size > 0 }
      var (attach, detach): ([Duration], [Duration]) = ([], [])
      var steps: [String: [Duration]] = [:]
      for _ in 0..<40 {
        if isPooled {
          try await KernelRoom.eventually("the pool is full") { network.ledger.withLock { $0.pool.ready.count == 8 } }
        }
        let start = ContinuousClock.now
        let pod = try await Pod(network)
        let attached = ContinuousClock.now
        await network.detach(sandbox: pod.id, lease: pod.lease)
        attach.append(attached - start)
        detach.append(ContinuousClock.now - attached)
        for (step, duration) in pod.attachment.timings { steps[step, default: []].append(duration) }
        #expect(
          pod.attachment.timings.map(\.step)
            == (isPooled ? ["pool", "queue", "host", "all"] : ["namespace", "queue", "veth", "inside", "host", "all"]))
      }
      print("\(text): attach \(figures(attach)), detach \(figures(detach)); p50 of its steps:")
      print(
        "  "
          + steps.mapValues(median).sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
    }

    private func figures(_ values: [Duration]) -> String { "p50 \(median(values)) max \(values.max() ?? .zero)" }

    /// NETWORK.md D5: one batch of elements, in both families. What the walks through the connections hold up is printed:
    /// no pod comes and goes so fast.
    @Test func aHostPortCostsLittle() async throws {
      try await KernelRoom.withNetwork { network in
        for transport in [HostPort.TransportProtocol.tcp, .udp] {
          var steps: [String: [Duration]] = [:]
          var detach: [Duration] = []
          for number in 0..<50 {
            let port = HostPort(transport: transport, hostPort: UInt16(20000 + number), containerPort: 80)
            let pod = try await Pod(network, ports: [port])
            for (step, duration) in pod.attachment.timings { steps[step, default: []].append(duration) }
            let start = ContinuousClock.now
            await network.detach(sandbox: pod.id, lease: pod.lease)
            detach.append(ContinuousClock.now - start)
          }
          let ports = median(steps["ports"] ?? [.seconds(1)])
          print("\(transport) host port: \(ports) of \(median(steps["all"] ?? [])), detach \(median(detach))")
          #expect(ports < .milliseconds(10))
        }
      }
    }

    private func median(_ values: [Duration]) -> Duration { values.sorted()[values.count / 2] }
  }
}
