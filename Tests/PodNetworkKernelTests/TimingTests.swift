import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct TimingTests {
    /// Prints the figures of NETWORK.md 12; the bounds only catch what has become ten times slower, since other work
    /// may share the machine.
    @Test func attachAndDetachAreFast() async throws {
      var configuration = KernelRoom.configuration()
      configuration.podCIDRs = ["10.244.0.0/22", "fd44:1::/64"]
      try await KernelRoom.withNetwork(configuration) { network in
        for count in [1, 200] {
          var pods: [Pod] = []
          var attach: [Duration] = []
          var detach: [Duration] = []
          var steps: [String: [Duration]] = [:]
          let clock = ContinuousClock()
          let begin = clock.now
          for _ in 0..<max(count, 30) {
            let start = clock.now
            let pod = try await Pod(network)
            attach.append(clock.now - start)
            for (step, duration) in pod.attachment.timings { steps[step, default: []].append(duration) }
            if count == 1 {
              await network.detach(sandbox: pod.id, lease: pod.lease)
            } else {
              pods.append(pod)
            }
          }
          let all = clock.now - begin
          for pod in pods {
            let start = clock.now
            await network.detach(sandbox: pod.id, lease: pod.lease)
            detach.append(clock.now - start)
          }
          pods = []
          print("attach with up to \(count) pods: p50 \(median(attach)) max \(attach.max() ?? .zero), all \(all)")
          print(
            steps.mapValues(median).sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
          if !detach.isEmpty { print("detach p50 \(median(detach)) max \(detach.max() ?? .zero)") }
          let gone = clock.now
          try await KernelRoom.eventually("links are gone") { network.ledger.withLock { $0.indexes.isEmpty } }
          print("links gone after \(clock.now - gone)")
          #expect(median(attach) < .milliseconds(50))
          if !detach.isEmpty { #expect(median(detach) < .milliseconds(20)) }
        }
      }
    }

    private func median(_ values: [Duration]) -> Duration { values.sorted()[values.count / 2] }
  }
}
