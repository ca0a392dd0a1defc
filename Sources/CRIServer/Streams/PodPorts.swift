import LinuxSystem
import RuntimeModel
import Streaming
import Synchronization

/// The loopback of a pod's network namespace, or of the node's where the pod has that.
struct PodPorts: PortConnector {
  let daemon: Daemon
  let sandbox: Sandbox

  private static let patience = Duration.seconds(5)

  func connect(to port: UInt16) async throws -> OwnedFD {
    try daemon.dials.begin(for: sandbox.id, sandbox.subject)
    defer { daemon.dials.end(for: sandbox.id) }
    return try await LoopbackConnection.open(port: port, in: try namespace(), within: Self.patience, daemon.exits)
  }

  func ended() async { _ = await sandbox.ended.wait() }

  /// - Returns: nil for the node's.
  private func namespace() throws -> SharedFD? {
    guard sandbox.isReady, let pause = sandbox.record.pause else {
      throw RuntimeError(.failedPrecondition, "\(sandbox.subject) is not ready")
    }
    if sandbox.namespaces.hasHostNetwork { return nil }
    guard let namespace = try NetworkNamespace.open(of: pause) else {
      throw RuntimeError(.failedPrecondition, "\(sandbox.subject) has ended")
    }
    return namespace
  }
}

/// Connections that are being made: each has descriptors until it is answered, and a pod may leave it without an answer.
final class Dials: Sendable {
  /// All pods' together.
  private static let limit = 2048
  /// One pod's, whose clients wait for it and for no other's.
  private static let limitOfPod = 128

  private struct Counts {
    var all = 0
    var pods: [Identifier: Int] = [:]
  }

  private let counts = Mutex(Counts())

  /// - Throws: `resourceExhausted`.
  func begin(for sandbox: Identifier, _ subject: String) throws(RuntimeError) {
    let (all, ofPod) = counts.withLock { counts in
      let ofPod = counts.pods[sandbox, default: 0]
      guard counts.all < Self.limit, ofPod < Self.limitOfPod else { return (counts.all, ofPod) }
      counts.all += 1
      counts.pods[sandbox] = ofPod + 1
      return (0, 0)
    }
    guard ofPod < Self.limitOfPod else {
      throw RuntimeError(
        .resourceExhausted, "\(ofPod) forwarded connections to \(subject) wait for an answer; try again")
    }
    guard all < Self.limit else {
      throw RuntimeError(.resourceExhausted, "\(all) forwarded connections wait for an answer; try again")
    }
  }

  func end(for sandbox: Identifier) {
    counts.withLock { counts in
      counts.all -= 1
      let left = counts.pods[sandbox, default: 1] - 1
      counts.pods[sandbox] = left > 0 ? left : nil
    }
  }
}
