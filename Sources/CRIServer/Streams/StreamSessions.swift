import LinuxSystem
import RuntimeModel
import Synchronization

/// A command that runs in a container, its streams in the caller's hands.
///
/// It goes on when the caller lets all of this go: its stdin ends then, and a terminal hangs up (CRI.md 5.7).
final class ExecSession: Sendable {
  /// Our ends. With a terminal, stdin's and stdout's are both its master; EIO from it is its end.
  let ends: StreamEnds
  private let terminal: Mutex<TerminalMaster?>
  private let answer: Task<Int32, any Error>

  init(ends: StreamEnds, terminal: TerminalMaster?, answer: Task<Int32, any Error>) {
    self.ends = ends
    self.terminal = Mutex(terminal)
    self.answer = answer
  }

  /// Waits for the command's end, which may come before the end of its output.
  /// - Returns: 0 to 255; 128 + signal when it was killed.
  /// - Throws: `RuntimeError` when it could not be run, or the shim is gone.
  func exitCode() async throws -> Int32 { try await answer.value }

  /// Nothing happens without a terminal, or once it is gone.
  func resize(_ size: TerminalSize) {
    terminal.withLock { terminal in
      _ = try? terminal?.resize(width: size.width, height: size.height)
    }
  }

  /// Lets the terminal go that `resize` holds: with the two of `ends` closed, it hangs up.
  func hangUp() { terminal.withLock { $0 = nil } }
}

/// A client of a running container's streams.
///
/// It is disconnected by closing our ends, and by the shim when it does not read its output in time.
final class AttachSession: Sendable {
  /// Our ends: stdin's to write to, the others to read from. With a terminal there is no stderr.
  let ends: StreamEnds
  /// The daemon's number for it.
  let client: UInt64
  /// Keeps stdin's pipe open until the shim knows whose end its end is.
  private let input: Mutex<OwnedFD?>
  private let answer: Task<Bool, any Error>

  /// - Throws: EMFILE and the like.
  init(ends: StreamEnds, client: UInt64, answer: Task<Bool, any Error>) throws(SystemCallError) {
    self.ends = ends
    self.client = client
    self.input = Mutex(try ends.copyInput())
    self.answer = answer
  }

  var hasInput: Bool { input.withLock { $0 != nil } }

  /// stdin's pipe ends with whoever else holds it.
  func releaseInput() { input.withLock { $0 = nil } }

  /// Waits until the container has ended, or the client is disconnected.
  /// - Returns: whether it was disconnected for being too slow.
  /// - Throws: `RuntimeError` when the container does not run, or the shim is gone.
  func isTooSlow() async throws -> Bool { try await answer.value }
}
