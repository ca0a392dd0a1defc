import CLinux

/// The socket that clients connect to.
final class Listener: Watcher {
  private static let connectionLimit = 256
  /// How long nobody is accepted after there was no descriptor for it: the socket stays readable all the while.
  private static let pause: Int64 = 100_000_000

  private let descriptor: Int32
  private let shim: Shim
  private var token: Loop.Token?

  init(_ descriptor: Int32, shim: Shim) {
    self.descriptor = descriptor
    self.shim = shim
    token = shim.loop.watch(descriptor, Loop.readable, self)
  }

  func ready() {
    let client = clinux_accept(descriptor)
    if client >= 0 { return accept(client) }
    guard client == -EMFILE || client == -ENFILE || client == -ENOMEM || client == -ENOBUFS, let token else { return }
    shim.loop.change(token, 0)
    _ = shim.loop.after(Listener.pause) { self.shim.loop.change(token, Loop.readable) }
  }

  /// Only root may ask anything, whatever the socket's mode says. No token beside that (S01): it would have to lie in the
  /// directory of the socket, and whoever can read there can ask.
  func accept(_ client: Int32) {
    guard clinux_peer_uid(client) == 0, shim.connections.count < Listener.connectionLimit else {
      close(client)
      return
    }
    shim.connections.append(Connection(client, loop: shim.loop, scratch: shim.scratch, receiver: shim))
  }
}
