import CRIProtocol
import LinuxSystem
import RuntimeModel
import ShimProtocol
import Streaming
import Synchronization

/// Connections to the streams of a running container.
struct ContainerAttach: Sendable {
  let container: Container
  let shim: ShimClient

  /// What a client may be behind before it is disconnected, per stream: as much as a pipe can hold anywhere.
  private static let patience: Int32 = 1 << 20
  /// Of the last client, whatever its container.
  private static let counter = Atomic<UInt64>(0)

  /// Connects a client: output from now on. What the container cannot give (stdin without `stdin`, stderr beside a
  /// terminal) is there and stays silent.
  /// - Throws: EMFILE and the like.
  func begin(_ selection: StreamSelection) throws(SystemCallError) -> AttachSession {
    let (ours, theirs) = try StreamEnds.pipes(
      stdin: selection.stdin, stdout: selection.stdout, stderr: selection.stderr, capacity: Self.patience)
    var request = Swiftlet_Shim_V1_AttachRequest()
    request.containerID = container.id.value
    request.stdin = selection.stdin
    request.stdout = selection.stdout
    request.stderr = selection.stderr
    request.client = Self.counter.add(1, ordering: .relaxed).newValue
    let answer = Task { [request, shim, subject = container.subject] in
      do {
        return try await shim.attach(request, passing: theirs.takeAll()).tooSlow
      } catch {
        throw RuntimeError("attach to \(subject)", error)
      }
    }
    return try AttachSession(ends: ours, client: request.client, answer: answer)
  }

  /// Says that the client has no more input, or has gone: a shim takes nothing else for the end of it, so that a daemon may
  /// end without its clients' containers.
  func endInput(of session: AttachSession, clientIsGone: Bool) async {
    guard session.hasInput else { return }
    defer { session.releaseInput() }
    var request = Swiftlet_Shim_V1_EndAttachRequest()
    request.containerID = container.id.value
    request.client = session.client
    request.gone = clientIsGone
    // A container that has ended, or a shim, has no use for it.
    _ = try? await shim.endAttach(request)
  }

  /// Sets the size of the container's terminal; nothing happens where it has none.
  func resize(_ size: TerminalSize) async throws {
    guard container.config.tty else { return }
    var request = Swiftlet_Shim_V1_ResizeTerminalRequest()
    request.containerID = container.id.value
    request.size.width = UInt32(size.width)
    request.size.height = UInt32(size.height)
    do {
      _ = try await shim.resizeTerminal(request)
    } catch {
      throw RuntimeError("resize the terminal of \(container.subject)", error)
    }
  }
}
