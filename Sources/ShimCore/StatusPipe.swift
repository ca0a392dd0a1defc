import CLinux

/// The pipe on which a new process says what went wrong before exec. End of file and nothing before: it was exec'd.
final class StatusPipe: Watcher {
  private static let limit = 64 << 10

  private let loop: Loop
  private var descriptor: Int32
  private var token: Loop.Token?
  private var content: [UInt8] = []
  private var onEnd: (([UInt8]) -> Void)?

  init(_ descriptor: Int32, loop: Loop, onEnd: @escaping ([UInt8]) -> Void) {
    self.descriptor = descriptor
    self.loop = loop
    self.onEnd = onEnd
    _ = clinux_fcntl(descriptor, F_SETFL, Int(O_NONBLOCK))
    token = loop.watch(descriptor, Loop.readable, self)
  }

  /// Reads what there is. Once the process is dead that is all there will be.
  func ready() {
    while let onEnd {
      var piece: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
      let count = withUnsafeMutableBytes(of: &piece) { read(descriptor, $0.baseAddress, $0.count) }
      if count > 0, content.count < StatusPipe.limit {
        withUnsafeBytes(of: &piece) { content.append(contentsOf: $0.prefix(count)) }
        continue
      }
      if count < 0, clinux_errno() == EINTR { continue }
      if count < 0, clinux_errno() == EAGAIN { return }
      close()
      onEnd(content)
    }
  }

  /// Forgets about it; nobody is told.
  func close() {
    if let token { loop.forget(token) }
    token = nil
    onEnd = nil
    closeAndForget(&descriptor)
  }
}
