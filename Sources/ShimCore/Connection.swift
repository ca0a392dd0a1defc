import CLinux

/// Answers what a connection asks.
protocol RequestReceiver: AnyObject {
  /// A whole request has come. The bytes are valid during the call.
  func received(_ payload: UnsafeRawBufferPointer, stream: UInt32, on connection: Connection)
  /// The peer has gone, or did not speak the protocol.
  func closed(_ connection: Connection)
}

/// One client: requests in, responses out, neither ever blocking.
final class Connection: Watcher {
  /// Bytes of answers that may wait for a slow reader before no more of its requests are read.
  private static let patience = 1 << 20
  /// Descriptors a client may send before anything takes them.
  private static let descriptorLimit = 8

  private let loop: Loop
  private let scratch: Scratch
  private var receiver: (any RequestReceiver)?
  private var descriptor: Int32
  private var token: Loop.Token?
  private var assembler = FrameAssembler()
  /// Came with SCM_RIGHTS and not taken yet.
  private var descriptors: [Int32] = []
  private var outgoing: [Chunk] = []
  private var queued = 0
  private var interest = Loop.readable

  var isOpen: Bool { descriptor >= 0 }
  /// Everything that was answered has been sent.
  var isFlushed: Bool { outgoing.isEmpty }

  init(_ descriptor: Int32, loop: Loop, scratch: Scratch, receiver: any RequestReceiver) {
    self.descriptor = descriptor
    self.loop = loop
    self.scratch = scratch
    self.receiver = receiver
    _ = clinux_fcntl(descriptor, F_SETFL, Int(O_NONBLOCK))
    _ = clinux_fcntl(descriptor, F_SETFD, Int(FD_CLOEXEC))
    token = loop.watch(descriptor, interest, self)
  }

  func ready() {
    if !outgoing.isEmpty { writeQueued() }
    if isOpen, interest & Loop.readable != 0 { readOnce() }
  }

  /// The next descriptor that came with the present request, or -1; the caller closes it.
  func takeDescriptor() -> Int32 {
    descriptors.isEmpty ? -1 : descriptors.removeFirst()
  }

  /// Queues bytes and sends what the socket takes. Owns the chunk from now on.
  func send(_ chunk: consuming Chunk) {
    guard isOpen else { return }
    queued += chunk.count
    outgoing.append(chunk)
    writeQueued()
  }

  func close() {
    guard isOpen else { return }
    if let token { loop.forget(token) }
    token = nil
    closeAndForget(&descriptor)
    dropDescriptors()
    outgoing = []
    queued = 0
    let receiver = receiver
    self.receiver = nil
    receiver?.closed(self)
  }

  private func readOnce() {
    guard let buffer = scratch.input.baseAddress else { return }
    var received: (Int32, Int32, Int32, Int32, Int32, Int32, Int32, Int32) = (0, 0, 0, 0, 0, 0, 0, 0)
    var count: Int32 = 0
    let got = withUnsafeMutableBytes(of: &received) { slots in
      let room = slots.assumingMemoryBound(to: Int32.self).baseAddress
      return clinux_receive(descriptor, buffer, Scratch.inputSize, room, &count)
    }
    withUnsafeBytes(of: &received) { slots in
      descriptors.append(contentsOf: slots.assumingMemoryBound(to: Int32.self).prefix(Int(count)))
    }
    if got == -Int(EAGAIN) || got == -Int(EINTR) { return }
    guard got > 0, descriptors.count <= Connection.descriptorLimit else { return close() }
    let wellFormed = assembler.feed(UnsafeRawBufferPointer(start: buffer, count: got)) { header, payload in
      if isOpen { receiver?.received(payload, stream: header.stream, on: self) }
    }
    guard wellFormed else { return close() }
    if assembler.isIdle { dropDescriptors() }
  }

  private func dropDescriptors() {
    for descriptor in descriptors { _ = CLinux.close(descriptor) }
    descriptors = []
  }

  private func writeQueued() {
    while isOpen, let first = outgoing.first {
      let count = first.write(to: descriptor)
      if count < 0 {
        if clinux_errno() == EAGAIN || clinux_errno() == EINTR { break }
        return close()
      }
      queued -= count
      if first.isEmpty { outgoing.removeFirst() }
    }
    var wanted: UInt32 = queued > Connection.patience ? 0 : Loop.readable
    if !outgoing.isEmpty { wanted |= Loop.writable }
    if wanted != interest, let token {
      interest = wanted
      loop.change(token, wanted)
    }
  }
}

/// Bytes on their way out: a malloc'd block of one owner.
final class Chunk {
  private let base: UnsafeMutableRawPointer
  private var offset = 0
  private var end: Int
  /// Called when the bytes are gone.
  private let onRelease: (() -> Void)?

  var count: Int { end - offset }
  var isEmpty: Bool { offset >= end }

  /// Takes over a block from malloc.
  init(adopting base: UnsafeMutableRawPointer, count: Int, onRelease: (() -> Void)? = nil) {
    self.base = base
    end = count
    self.onRelease = onRelease
  }

  deinit {
    free(base)
    onRelease?()
  }

  /// How many bytes the socket took, or -1 with errno.
  func write(to descriptor: Int32) -> Int {
    let count = CLinux.send(descriptor, base + offset, end - offset, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    if count > 0 { offset += count }
    return count
  }
}
