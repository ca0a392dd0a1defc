import Logging
import PodNetwork
import RuntimeModel

/// The measured operations against one configuration.
struct Round: Sendable {
  let configuration: NetworkConfiguration
  let logger: Logger
  let publishes: Bool

  /// A pod whose namespace nobody but us holds; it ends with this value.
  struct Pod: Sendable {
    let id: Identifier
    let attachment: Attachment
    let duration: Duration
  }

  func open(_ live: [Identifier: AddressLease]) async throws -> PodNetwork {
    try await PodNetwork.open(configuration, liveSandboxes: live, logger: logger)
  }

  /// What RunPodSandbox asks of the network, without the record's transaction.
  private func attach(_ network: PodNetwork, _ number: Int) async throws -> Pod {
    let id = Identifier.random()
    let port = HostPort(transport: .tcp, hostPort: UInt16(20000 + number % 20000), containerPort: 80)
    let start = ContinuousClock.now
    let lease = try network.reserveLease()
    let attachment = try await network.attach(sandbox: id, lease: lease, ports: publishes ? [port] : [])
    return Pod(id: id, attachment: attachment, duration: ContinuousClock.now - start)
  }

  private func poolIsFull(_ network: PodNetwork) async throws {
    let end = ContinuousClock.now + .seconds(5)
    while network.spares.ready < network.spares.wanted && ContinuousClock.now < end {
      try await Task.sleep(for: .milliseconds(1))
    }
  }

  private func detach(_ network: PodNetwork, _ pod: Pod) async -> Duration {
    let start = ContinuousClock.now
    await network.detach(sandbox: pod.id, lease: pod.attachment.lease)
    return ContinuousClock.now - start
  }

  /// Pods one after another, none beside them.
  func alone(_ count: Int, _ network: PodNetwork, _ record: inout Record) async throws {
    for number in 0..<count + 10 {
      try await poolIsFull(network)
      let pod = try await attach(network, number)
      let left = await detach(network, pod)
      guard number >= 10 else { continue }  // warming up
      record.add("attach", pod.duration)
      for (step, duration) in pod.attachment.timings { record.add("attach: \(step)", duration) }
      record.add("detach", left)
    }
  }

  /// Many at the same moment: how long each one took, and all.
  func rate(_ count: Int, _ width: Int, _ network: PodNetwork, _ record: inout Record) async throws {
    let start = ContinuousClock.now
    let pods = try await withThrowingTaskGroup(of: Pod.self) { group in
      var pods: [Pod] = []
      for number in 0..<count {
        if number >= width, let pod = try await group.next() { pods.append(pod) }
        group.addTask { try await attach(network, number) }
      }
      for try await pod in group { pods.append(pod) }
      return pods
    }
    record.add("\(count) pods up", ContinuousClock.now - start)
    for pod in pods { record.add("attach, \(width) at a time", pod.duration) }
    let end = ContinuousClock.now
    for pod in pods { record.add("detach in a row", await detach(network, pod)) }
    record.add("\(count) pods down", ContinuousClock.now - end)
  }

  /// `count` pods that stand, the last hundred of them measured; then the daemon's start beside them; then their end.
  /// - Returns: the network that the start made.
  func crowd(_ count: Int, _ network: PodNetwork, _ record: inout Record) async throws -> PodNetwork {
    var pods: [Pod] = []
    for number in 0..<count {
      if number >= count - 100 { try await poolIsFull(network) }
      let pod = try await attach(network, number)
      pods.append(pod)
      guard number >= count - 100 else { continue }
      record.add("attach at \(count)", pod.duration)
      for (step, duration) in pod.attachment.timings { record.add("attach at \(count): \(step)", duration) }
    }
    await network.shutdown()
    let live = Dictionary(uniqueKeysWithValues: pods.map { ($0.id, $0.attachment.lease) })
    var last = network
    for _ in 0..<5 {
      let start = ContinuousClock.now
      last = try await open(live)
      record.add("start beside \(count)", ContinuousClock.now - start)
      await last.shutdown()
    }
    last = try await open(live)
    for pod in pods { record.add("detach at \(count)", await detach(last, pod)) }
    return last
  }
}
