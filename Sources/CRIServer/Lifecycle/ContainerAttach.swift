import CRIProtocol
import LinuxSystem
import RuntimeModel
import ShimProtocol

/// Connections to the streams of a running container.
struct ContainerAttach: Sendable {
  let container: Container
  let shim: ShimClient

  /// What a client may be behind before it is disconnected, per stream: as much as a pipe can hold anywhere.
  private static let patience: Int32 = 1 << 20

  /// Connects a client: output from now on. What the container cannot give (stdin without `stdin`, stderr beside a
  /// terminal) is there and stays silent.
  /// - Throws: EMFILE and the like.
  func begin(_ choice: StreamChoice) throws(SystemCallError) -> AttachSession {
    let (ours, theirs) = try StreamEnds.pipes(
      stdin: choice.stdin, stdout: choice.stdout, stderr: choice.stderr, capacity: Self.patience)
    var request = Swiftlet_Shim_V1_AttachRequest()
    request.containerID = container.id.value
    request.stdin = choice.stdin
    request.stdout = choice.stdout
    request.stderr = choice.stderr
    let answer = Task { [request, shim, subject = container.subject] in
      do {
        return try await shim.attach(request, passing: theirs.takeAll()).tooSlow
      } catch {
        throw RuntimeError("attach to \(subject)", error)
      }
    }
    return AttachSession(ends: ours, answer: answer)
  }

  /// Sets the size of the container's terminal; nothing happens where it has none.
  func resize(_ size: TerminalSize) async throws {
    guard container.config.tty else { return }
    var request = Swiftlet_Shim_V1_ResizeTerminalRequest()
    request.containerID = container.id.value
    request.size = size.message
    do {
      _ = try await shim.resizeTerminal(request)
    } catch {
      throw RuntimeError("resize the terminal of \(container.subject)", error)
    }
  }
}
