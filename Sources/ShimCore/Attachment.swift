import CLinux
import CShimMessages

/// One client of a container's streams, from its Attach to the answer.
final class Attachment {
  private let call: Call
  /// The caller's number for it.
  let client: UInt64
  /// The end of the pipe is the client's doing. Else it is the caller that has ended, a daemon that is replaced perhaps.
  private var inputEnds = false
  private var clientIsGone = false
  /// Nil once answered.
  private var task: ShimTask?
  private var input: AttachedInput?
  private var output: AttachedOutput?
  private var errors: AttachedOutput?

  var connection: Connection { call.connection }

  /// Takes the client's descriptors over.
  init(_ call: Call, _ task: ShimTask, client: UInt64, _ ends: Stdio, loop: Loop, scratch: Scratch) {
    self.call = call
    self.client = client
    self.task = task
    if ends.output >= 0 { output = AttachedOutput(ends.output, self, loop: loop) }
    if ends.error >= 0 { errors = AttachedOutput(ends.error, self, loop: loop) }
    if ends.input >= 0 { input = AttachedInput(ends.input, self, loop: loop, scratch: scratch) }
  }

  /// The container wrote something. A client that has no room for it is left behind: others do not wait for it.
  func received(_ bytes: UnsafeRawBufferPointer, isError: Bool) {
    guard let stream = isError ? errors : output, !stream.write(bytes) else { return }
    end(tooSlow: !stream.isReaderGone)
  }

  /// How many of the client's bytes the container took.
  func deliver(_ bytes: UnsafeRawBufferPointer) -> Int {
    guard let task, task.takesInput, let input = task.input else { return bytes.count }
    return input.write(bytes)
  }

  /// Nobody waits for a client that has gone.
  func waitForRoom(_ input: AttachedInput) {
    if clientIsGone { return endNow(input) }
    task?.input?.wait(input)
  }

  /// What is in the pipe still comes to the container, unless the client has gone and there is no room for it.
  func endInput(clientIsGone: Bool) {
    inputEnds = true
    self.clientIsGone = clientIsGone
    guard clientIsGone else { return }
    guard let input else { return end() }
    if input.isWaiting { endNow(input) }
  }

  private func endNow(_ input: AttachedInput) {
    task?.input?.forget(input)
    input.close()
    inputEnded()
  }

  /// The client's stdin has ended. As containerd does: a container that is told goes on with its output, from any other
  /// the client is disconnected.
  func inputEnded() {
    guard let task else { return }
    input = nil
    guard inputEnds, task.stdinOnce, !task.isTerminal else { return end() }
    task.input?.close()
    if clientIsGone || (output == nil && errors == nil) { end() }
  }

  /// Disconnects and answers.
  func end(tooSlow: Bool = false) {
    guard let task else { return }
    self.task = nil
    task.attachments.removeAll { $0 === self }
    if let input {
      task.input?.forget(input)
      input.close()
    }
    output?.close()
    errors?.close()
    input = nil
    output = nil
    errors = nil
    var response = Swiftlet__Shim__V1__AttachResponse()
    swiftlet__shim__v1__attach_response__init(&response)
    response.too_slow = tooSlow ? 1 : 0
    call.succeed(&response)
  }
}

/// The pipe to a client.
final class AttachedOutput: Watcher {
  private var descriptor: Int32
  private var client: Attachment?
  private let loop: Loop
  private var token: Loop.Token?
  private(set) var isReaderGone = false

  init(_ descriptor: Int32, _ client: Attachment, loop: Loop) {
    self.descriptor = descriptor
    self.client = client
    self.loop = loop
    _ = clinux_fcntl(descriptor, F_SETFL, Int(O_NONBLOCK))
    // For nothing but the error that tells that nobody reads any more.
    token = loop.watch(descriptor, 0, self)
  }

  func ready() {
    client?.end()
  }

  /// False unless all of it went.
  func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let start = bytes.baseAddress else { return true }
    let count = CLinux.write(descriptor, start, bytes.count)
    isReaderGone = count < 0 && clinux_errno() == EPIPE
    return count == bytes.count
  }

  func close() {
    if let token { loop.forget(token) }
    token = nil
    client = nil
    closeAndForget(&descriptor)
  }
}

/// The pipe from a client. It is not read while the container has no room for what came.
final class AttachedInput: Watcher {
  private static let pieceSize = 16 << 10

  private var descriptor: Int32
  private var client: Attachment?
  private let loop: Loop
  private let scratch: Scratch
  private var token: Loop.Token?
  private var pending: [UInt8] = []
  /// For room in the container's stdin.
  var isWaiting: Bool { !pending.isEmpty }

  init(_ descriptor: Int32, _ client: Attachment, loop: Loop, scratch: Scratch) {
    self.descriptor = descriptor
    self.client = client
    self.loop = loop
    self.scratch = scratch
    _ = clinux_fcntl(descriptor, F_SETFL, Int(O_NONBLOCK))
    token = loop.watch(descriptor, Loop.readable, self)
  }

  func ready() {
    guard let client, let buffer = scratch.input.baseAddress else { return }
    let count = read(descriptor, buffer, AttachedInput.pieceSize)
    if count > 0 { return pass(UnsafeRawBufferPointer(start: buffer, count: count)) }
    if count < 0, clinux_errno() == EAGAIN || clinux_errno() == EINTR { return }
    close()
    client.inputEnded()
  }

  private func pass(_ bytes: UnsafeRawBufferPointer) {
    guard let client else { return }
    let taken = client.deliver(bytes)
    guard taken < bytes.count else { return }
    pending.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[taken...]))
    // A hang-up would be told again and again.
    if let token { loop.forget(token) }
    token = nil
    client.waitForRoom(self)
  }

  /// There may be room.
  func resume() {
    guard client != nil else { return }
    let rest = pending
    pending = []
    rest.withUnsafeBytes { pass($0) }
    if client != nil, pending.isEmpty, token == nil { token = loop.watch(descriptor, Loop.readable, self) }
  }

  func close() {
    if let token { loop.forget(token) }
    token = nil
    client = nil
    pending = []
    closeAndForget(&descriptor)
  }
}
