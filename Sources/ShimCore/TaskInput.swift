import CLinux

/// Our end of a container's stdin, or of its terminal; nothing written to it ever waits.
final class TaskInput: Watcher {
  private let loop: Loop
  private var descriptor: Int32
  private var token: Loop.Token?
  /// Clients with bytes for which there was no room.
  private var waiting: [AttachedInput] = []
  /// Nobody reads it any more: what comes is thrown away.
  private var isDead = false

  init(_ descriptor: Int32, loop: Loop) {
    self.descriptor = descriptor
    self.loop = loop
    _ = clinux_fcntl(descriptor, F_SETFL, Int(O_NONBLOCK))
  }

  deinit {
    closeAndForget(&descriptor)
  }

  /// How many bytes were taken.
  func write(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard descriptor >= 0, !isDead, let start = bytes.baseAddress else { return bytes.count }
    let count = CLinux.write(descriptor, start, bytes.count)
    if count >= 0 { return count }
    if clinux_errno() == EAGAIN || clinux_errno() == EINTR { return 0 }
    return bytes.count
  }

  /// Has the client called as soon as there may be room.
  func wait(_ client: AttachedInput) {
    waiting.append(client)
    if token == nil, descriptor >= 0 { token = loop.watch(descriptor, Loop.writable, self) }
  }

  /// It waits no longer.
  func forget(_ client: AttachedInput) {
    waiting.removeAll { $0 === client }
    guard waiting.isEmpty, let token else { return }
    loop.forget(token)
    self.token = nil
  }

  func ready() {
    if let token { loop.forget(token) }
    token = nil
    let clients = waiting
    waiting = []
    for client in clients { client.resume() }
  }

  func resize(_ width: UInt16, _ height: UInt16) throws(StepFailure) {
    try require(clinux_resize_terminal(descriptor, width, height), "resize terminal")
  }

  /// The terminal's other end is closed; it says that it has room and takes nothing.
  func giveUp() {
    isDead = true
    ready()
  }

  /// The container reads the end of file.
  func close() {
    if let token { loop.forget(token) }
    token = nil
    closeAndForget(&descriptor)
    ready()
  }
}
