import CRIProtocol
import FoundationEssentials
import GRPCCore
import LinuxSystem
import RuntimeModel
import ShimProtocol

extension RuntimeService {
  /// Runs a command in a running container with the container's own identity and limits; output is bounded. On timeout,
  /// and when the caller leaves, the command and all its descendants are killed.
  func execSync(
    request: Runtime_V1_ExecSyncRequest, context: ServerContext
  ) async throws -> Runtime_V1_ExecSyncResponse {
    let container = try daemon.presentContainer(request.containerID)
    guard !request.cmd.isEmpty, !request.cmd[0].isEmpty else { throw RuntimeError(.invalidArgument, "cmd is empty") }
    guard request.timeout >= 0 else {
      throw RuntimeError(.invalidArgument, "timeout: \(request.timeout) is negative")
    }
    let (sandbox, shim) = try daemon.running(container)
    let exec = ContainerExec(daemon: daemon, container: container, sandbox: sandbox, shim: shim)
    let answer = try await exec.run(command: request.cmd, timeout: request.timeout)
    guard !answer.timedOut else {
      throw RuntimeError(
        .deadlineExceeded, "\(request.cmd[0]) in \(container.subject) ran longer than \(request.timeout) s")
    }
    var response = Runtime_V1_ExecSyncResponse()
    response.stdout = answer.stdout
    response.stderr = answer.stderr
    response.exitCode = answer.exitCode
    return response
  }
}
