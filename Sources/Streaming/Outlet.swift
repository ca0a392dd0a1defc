import Glibc
import NIOCore
import SPDY
import Synchronization

/// What goes to one client.
final class Outlet: Sendable {
  let channel: any Channel
  let idle = IdleClock()
  private let hasEnded = Atomic(false)

  init(_ channel: any Channel) { self.channel = channel }

  /// Waits while the client does not read. After the end it does nothing: a client is answered no more, and does not have
  /// to know that yet.
  func send(_ message: some Sendable) async throws {
    do {
      if !hasEnded.load(ordering: .acquiring) { try await channel.send(message) }
    } catch {
      if !hasEnded.load(ordering: .acquiring) { throw error }
    }
    idle.touch()
  }

  /// Ends this side's half, after all that was sent.
  func end() async {
    hasEnded.store(true, ordering: .releasing)
    await channel.sendEnd()
  }

  /// Returns once the client's kernel has everything to the end of it, and at the latest with the connection.
  ///
  /// To close before would be no harm only as long as the client is silent: the kernel answers what comes for a socket that
  /// is closed with a reset, and throws away what it has not sent.
  /// - Parameter pause: between two looks.
  /// - Throws: CancellationError.
  func delivered(lookingEvery pause: Duration) async throws {
    guard let socket = channel as? any SocketOptionProvider else { return }
    // The end stands behind all the rest in the queue, and is what these states wait for (RFC 9293, 3.3.2).
    while let state = try? await socket.getTCPInfo().get().tcpi_state,
      state == TCPState.finWait1 || state == TCPState.closing
    {
      try await Task.sleep(for: pause)
    }
  }

  /// Of the kernel's tcp_states.h.
  private enum TCPState {
    static let finWait1: UInt8 = 4, closing: UInt8 = 11
  }
}
