import CLinux

/// Who gets what a process writes.
protocol OutputSink: AnyObject {
  func received(_ bytes: UnsafeRawBufferPointer, from stream: OutputStream)
  /// Nothing more will come.
  func ended(_ stream: OutputStream)
}

/// The read end of a process's stdout or stderr.
final class OutputStream: Watcher {
  let isError: Bool
  private var descriptor: Int32
  private var token: Loop.Token?
  private let loop: Loop
  private let scratch: Scratch
  private var sink: (any OutputSink)?

  var isOpen: Bool { descriptor >= 0 }

  init(_ descriptor: Int32, isError: Bool, loop: Loop, scratch: Scratch, sink: any OutputSink) {
    self.descriptor = descriptor
    self.isError = isError
    self.loop = loop
    self.scratch = scratch
    self.sink = sink
    _ = clinux_fcntl(descriptor, F_SETFL, Int(O_NONBLOCK))
    token = loop.watch(descriptor, Loop.readable, self)
  }

  func ready() {
    _ = readOnce()
  }

  /// Takes what is there now, at most `limit` bytes, without waiting.
  func drain(limit: Int = 1 << 20) {
    var rest = limit
    while rest > 0, isOpen {
      let count = readOnce()
      if count == 0 { return }
      rest -= count
    }
  }

  /// Stops reading; the writer gets EPIPE from now on. The sink is not told.
  func close() {
    if let token { loop.forget(token) }
    token = nil
    sink = nil
    closeAndForget(&descriptor)
  }

  /// How many bytes; 0 when there are none now, or at the end.
  private func readOnce() -> Int {
    guard isOpen, let sink, let buffer = scratch.input.baseAddress else { return 0 }
    let count = read(descriptor, buffer, Scratch.inputSize)
    if count > 0 {
      sink.received(UnsafeRawBufferPointer(start: buffer, count: count), from: self)
      return count
    }
    // A pseudo terminal whose other end is closed says EIO.
    if count < 0, clinux_errno() == EAGAIN || clinux_errno() == EINTR { return 0 }
    close()
    sink.ended(self)
    return 0
  }
}
