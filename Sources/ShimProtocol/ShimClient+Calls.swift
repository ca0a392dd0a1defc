// One method for each RPC of the shim. Every one throws `ShimCallError`; see `ShimClient` for what ends a call.

extension ShimClient {
  /// Starts pause in the pod's namespaces; once only.
  /// - Parameter networkNamespace: the pod's network namespace, borrowed until the call ends; nil for the node's.
  package func startSandbox(
    _ request: Swiftlet_Shim_V1_StartSandboxRequest, networkNamespace: Int32?,
    deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_StartSandboxResponse {
    try await call("StartSandbox", request, passing: networkNamespace.map { [$0] } ?? [], deadline: deadline)
  }

  /// Starts a container's process; returns once the program has been executed.
  package func start(
    _ request: Swiftlet_Shim_V1_StartRequest, deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_StartResponse {
    try await call("Start", request, deadline: deadline)
  }

  /// Runs a command in a container to its end.
  /// - Parameter deadline: must leave the command its own `timeoutNano`; nil when that is 0, for no end at all.
  package func execSync(
    _ request: Swiftlet_Shim_V1_ExecSyncRequest, deadline: ContinuousClock.Instant?
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_ExecSyncResponse {
    try await call("ExecSync", request, deadline: deadline)
  }

  /// Runs a command in a container with the caller's own streams; returns when it has ended.
  /// - Parameter descriptors: as the request says, in its order. They are taken over, and closed here as soon as the shim
  ///   has them, so that the caller's ends see the end of what they read; in failure, too.
  package func exec(
    _ request: Swiftlet_Shim_V1_ExecRequest, passing descriptors: [Int32]
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_ExecResponse {
    try await call("Exec", request, passing: descriptors, takingOver: true, deadline: nil)
  }

  /// Connects pipes to a running container's streams; returns when it has ended or the caller is disconnected. To
  /// disconnect, the caller closes its own ends.
  /// - Parameter descriptors: as those of ``exec(_:passing:)``.
  package func attach(
    _ request: Swiftlet_Shim_V1_AttachRequest, passing descriptors: [Int32]
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_AttachResponse {
    try await call("Attach", request, passing: descriptors, takingOver: true, deadline: nil)
  }

  /// Says that the end of an attachment's stdin, which follows, is its client's.
  package func endAttach(
    _ request: Swiftlet_Shim_V1_EndAttachRequest, deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_EndAttachResponse {
    try await call("EndAttach", request, deadline: deadline)
  }

  /// Sets the size of a container's terminal.
  package func resizeTerminal(
    _ request: Swiftlet_Shim_V1_ResizeTerminalRequest, deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_ResizeTerminalResponse {
    try await call("ResizeTerminal", request, deadline: deadline)
  }

  /// Signals a container. Idempotent: one that is dead is no error.
  package func kill(
    _ request: Swiftlet_Shim_V1_KillRequest, deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_KillResponse {
    try await call("Kill", request, deadline: deadline)
  }

  /// Switches a container's log to a new file at the same path.
  package func reopenLog(
    _ request: Swiftlet_Shim_V1_ReopenLogRequest, deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_ReopenLogResponse {
    try await call("ReopenLog", request, deadline: deadline)
  }

  /// What the shim holds: pause, running tasks, and exits not yet acknowledged.
  package func state(
    _ request: Swiftlet_Shim_V1_StateRequest = .init(), deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_StateResponse {
    try await call("State", request, deadline: deadline)
  }

  /// Acknowledges exits and waits for later ones, for ever if no deadline is given. One caller at a time: another call
  /// makes this one return with no exits.
  package func waitExits(
    _ request: Swiftlet_Shim_V1_WaitExitsRequest = .init(), deadline: ContinuousClock.Instant? = nil
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_WaitExitsResponse {
    try await call("WaitExits", request, deadline: deadline)
  }

  /// Kills every container and pause; returns when all are reaped. Idempotent.
  package func stopSandbox(
    _ request: Swiftlet_Shim_V1_StopSandboxRequest = .init(),
    deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_StopSandboxResponse {
    try await call("StopSandbox", request, deadline: deadline)
  }

  /// Ends the shim, after ``stopSandbox(_:deadline:)`` only. The connection ends soon after the answer.
  package func shutdown(
    _ request: Swiftlet_Shim_V1_ShutdownRequest = .init(), deadline: ContinuousClock.Instant? = ShimClient.usualDeadline
  ) async throws(ShimCallError) -> Swiftlet_Shim_V1_ShutdownResponse {
    try await call("Shutdown", request, deadline: deadline)
  }
}
