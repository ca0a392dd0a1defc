import CRIProtocol
import GRPCCore
import RuntimeModel
import ShimProtocol
import Streaming

extension RuntimeService {
  /// Gives a URL at which one client can run the command in the container; nothing runs before it comes.
  func exec(
    request: Runtime_V1_ExecRequest, context: ServerContext
  ) async throws -> Runtime_V1_ExecResponse {
    let container = try daemon.presentContainer(request.containerID)
    let selection = StreamSelection(
      stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, tty: request.tty)
    try selection.check()
    guard !request.cmd.isEmpty, !request.cmd[0].isEmpty else { throw RuntimeError(.invalidArgument, "cmd is empty") }
    let (sandbox, shim) = try daemon.running(container)
    let exec = ContainerExec(daemon: daemon, container: container, sandbox: sandbox, shim: shim)
    let target = ExecStreams(exec, command: request.cmd, selection: selection)
    var response = Runtime_V1_ExecResponse()
    response.url = try await daemon.streaming.url(for: .exec(target))
    return response
  }

  /// Gives a URL at which one client can read and write the container's own streams.
  func attach(
    request: Runtime_V1_AttachRequest, context: ServerContext
  ) async throws -> Runtime_V1_AttachResponse {
    let container = try daemon.presentContainer(request.containerID)
    let selection = StreamSelection(
      stdin: request.stdin, stdout: request.stdout, stderr: request.stderr, tty: request.tty)
    try selection.check()
    guard request.tty == container.config.tty else {
      throw RuntimeError(
        .invalidArgument, "tty is \(request.tty), but that of \(container.subject) is \(container.config.tty)")
    }
    let (_, shim) = try daemon.running(container)
    let target = AttachStreams(ContainerAttach(container: container, shim: shim), selection: selection)
    var response = Runtime_V1_AttachResponse()
    response.url = try await daemon.streaming.url(for: .attach(target))
    return response
  }

  /// Gives a URL at which one client can make connections to any port of the pod's loopback.
  func portForward(
    request: Runtime_V1_PortForwardRequest, context: ServerContext
  ) async throws -> Runtime_V1_PortForwardResponse {
    let sandbox = try daemon.listedSandbox(request.podSandboxID)
    // Any other port can be forwarded, too.
    if let port = request.port.first(where: { !(1...65535).contains($0) }) {
      throw RuntimeError(.invalidArgument, "port: \(port) is not within 1 and 65535")
    }
    guard sandbox.isReady else { throw RuntimeError(.failedPrecondition, "\(sandbox.subject) is not ready") }
    var response = Runtime_V1_PortForwardResponse()
    response.url = try await daemon.streaming.url(for: .portForward(PodPorts(daemon: daemon, sandbox: sandbox)))
    return response
  }
}

extension StreamSelection {
  /// - Throws: `invalidArgument`.
  fileprivate func check() throws(RuntimeError) {
    guard stdin || stdout || stderr else {
      throw RuntimeError(.invalidArgument, "none of stdin, stdout and stderr is asked for")
    }
    guard !(tty && stderr) else {
      throw RuntimeError(.invalidArgument, "stderr: with tty there is one output, which is stdout")
    }
  }
}

extension Daemon {
  /// - Throws: `failedPrecondition` unless the container runs.
  func running(_ container: Container) throws(RuntimeError) -> (Sandbox, ShimClient) {
    guard container.record.state == .running, let sandbox = sandboxes[container.sandboxID], let shim = sandbox.shim
    else {
      throw RuntimeError(.failedPrecondition, "\(container.subject) is not running")
    }
    return (sandbox, shim)
  }
}
