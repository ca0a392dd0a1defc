import CRIProtocol
import GRPCCore
import LinuxSystem
import Logging
import RuntimeModel

extension RuntimeService {
  /// Stops the sandbox if need be, then removes its containers and its record. Idempotent; an unknown sandbox is success.
  func removePodSandbox(
    request: Runtime_V1_RemovePodSandboxRequest, context: ServerContext
  ) async throws -> Runtime_V1_RemovePodSandboxResponse {
    if let sandbox = try daemon.sandboxes.find(request.podSandboxID, field: "pod_sandbox_id"), sandbox.isListed {
      let daemon = daemon
      try await Task { try await sandbox.lane.run { try await daemon.remove(sandbox) } }.value
    }
    return Runtime_V1_RemovePodSandboxResponse()
  }
}

extension Daemon {
  fileprivate func remove(_ sandbox: Sandbox) async throws {
    guard sandbox.isListed else { return }
    try await SandboxStop(daemon: self, sandbox: sandbox).stop()
    for container in containers(of: sandbox.id) {
      try await ContainerRemoval(daemon: self, container: container).run()
    }
    try await forget(sandbox)
    Failpoint.removeAnswer.reach()
    logger.info("sandbox is removed", metadata: ["sandbox": "\(sandbox.id)"])
  }
}
