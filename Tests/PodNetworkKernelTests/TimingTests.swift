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
        var pods: [Pod] = []
        for count in [0, 500] {
          let begin = ContinuousClock.now
          let missing = count - pods.count
          while pods.count < count { pods.append(try await Pod(network)) }
          if missing > 0 { print("\(missing) pods attached in \(ContinuousClock.now - begin)") }
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

    private func median(_ values: [Duration]) -> Duration { values.sorted()[values.count / 2] }
  }
}
