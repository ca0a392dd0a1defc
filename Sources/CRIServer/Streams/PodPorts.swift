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
    try daemon.dials.begin()
    defer { daemon.dials.end() }
    return try await LoopbackConnection.open(port: port, in: try namespace(), within: Self.patience)
  }

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

/// Connections that are being made: each has a thread until it is answered.
final class Dials: Sendable {
  private static let limit = 64
  private let count = Mutex(0)

  /// - Throws: `resourceExhausted`.
  func begin() throws(RuntimeError) {
    let isOver = count.withLock { count in
      count += 1
      return count > Self.limit
    }
    guard isOver else { return }
    end()
    throw RuntimeError(.resourceExhausted, "\(Self.limit) forwarded connections are being made; try again")
  }

  func end() { count.withLock { $0 -= 1 } }
}
