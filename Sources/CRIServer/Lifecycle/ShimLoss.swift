import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol

/// The end of a pod whose shim is dead or does nothing any more. Nobody watches its processes then, so they are ended,
/// and the sandbox is NotReady with a reason; StopPodSandbox finds the rest done.
struct ShimLoss: Sendable {
  let daemon: Daemon
  let sandbox: Sandbox
  let shim: ShimClient

  /// Whether the shim does its work: any answer will do, a refusal too.
  func answers(within patience: Duration) async -> Bool {
    do throws(ShimCallError) {
      _ = try await shim.state(deadline: .now + patience)
      return true
    } catch {
      return error.origin == .shim
    }
  }

  /// When a call that may take its time has taken this much, the shim is asked for a sign, and given as much for that.
  private static let patience = Duration.seconds(5)

  /// A call that is waited for only as long as the shim shows that it works.
  /// - Throws: what the call throws; `deadlineExceeded` when the shim answers nothing.
  func watched<Answer: Sendable>(_ body: @escaping @Sendable () async throws -> Answer) async throws -> Answer {
    let call = Task { try await body() }
    let watch = Task {
      try await Task.sleep(for: Self.patience)
      if await !answers(within: Self.patience), !Task.isCancelled { call.cancel() }
    }
    defer { watch.cancel() }
    do {
      return try await call.value
    } catch {
      guard let failure = error as? ShimCallError, failure.origin == .cancelled else { throw error }
      throw RuntimeError(.deadlineExceeded, "the shim of \(sandbox.subject) does not answer")
    }
  }

  /// Ends shim and pod, unless somebody else has seen to it: the sandbox's lane decides.
  func settle(because reason: String) async throws {
    try await sandbox.lane.run {
      guard sandbox.shim === shim, !sandbox.record.isReleased else { return }
      daemon.logger.error(
        "a pod is ended for want of its shim", metadata: ["sandbox": "\(sandbox.id)", "reason": "\(reason)"])
      sandbox.connect(nil)
      shim.close()
      try await daemon.settle(sandbox) { $0.becomeNotReady(because: reason) }
      try await SandboxStop(daemon: daemon, sandbox: sandbox).release()
    }
  }
}
