import CRIProtocol
import GRPCCore
import LinuxSystem
import RuntimeModel

extension RuntimeService {
  /// Kills every container, then pause, and releases network and cgroups. Idempotent; an unknown sandbox is success.
  ///
  /// The work goes on when the caller leaves.
  func stopPodSandbox(
    request: Runtime_V1_StopPodSandboxRequest, context: ServerContext
  ) async throws -> Runtime_V1_StopPodSandboxResponse {
    if let sandbox = try daemon.sandboxes.find(request.podSandboxID, field: "pod_sandbox_id"), sandbox.isListed {
      let stop = SandboxStop(daemon: daemon, sandbox: sandbox)
      try await Task { try await sandbox.lane.run { try await stop.stop() } }.value
      Failpoint.stopAnswer.reach()
    }
    return Runtime_V1_StopPodSandboxResponse()
  }
}
