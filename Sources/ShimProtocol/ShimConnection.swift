import Glibc
import Synchronization

/// One connection to a shim: which calls are under way, what still has to be sent. Everything is guarded by one lock,
/// under which only non-blocking system calls are made; continuations are resumed after it is released.
final class ShimConnection: Sendable {
  typealias Answer = Result<[UInt8], ShimCallError>

  /// A call as the connection sees it.
  struct Call: Sendable {
    /// The caller's name for it; the stream's number is given when it is sent.
    var token: UInt64
    var method: String
    var deadline: ContinuousClock.Instant?
  }

  private struct Pending {
    var call: Call
    var continuation: CheckedContinuation<Answer, Never>
  }

  private struct Outgoing {
    var bytes: [UInt8]
    var offset: Int
    /// Descriptors that go with the first byte; our own while the frame waits.
    var descriptors: [Int32]
  }

  /// What is to be done once the lock is released.
  private struct Actions {
    var answers: [(CheckedContinuation<Answer, Never>, Answer)] = []
    var observers: [@Sendable (ConnectionEnd) -> Void] = []
    var end: ConnectionEnd?

    func perform() {
      for (continuation, answer) in answers { continuation.resume(returning: answer) }
      if let end { for observer in observers { observer(end) } }
    }
  }

  private struct State {
    var descriptor: Int32
    var registration: UInt64 = 0
    var end: ConnectionEnd?
    var nextStream: UInt32 = 1
    var pending: [UInt32: Pending] = [:]
    var outgoing: [Outgoing] = []
    var outgoingBytes = 0
    var decoder = FrameDecoder(limit: FrameCodec.responseLimit)
    var observers: [@Sendable (ConnectionEnd) -> Void] = []
  }

  /// Bytes that may wait for a shim that does not read; a call beyond it fails.
  private static let outgoingLimit = 2 * FrameCodec.requestLimit

  private let reactor = ShimReactor.shared
  private let state: Mutex<State>
  private let lastToken = Atomic<UInt64>(0)

  /// Takes the descriptor over, in failure too.
  init(descriptor: Int32) throws(ConnectionEnd) {
    state = Mutex(State(descriptor: descriptor))
    try state.withLock { state throws(ConnectionEnd) in
      do throws(ConnectionEnd) {
        state.registration = try reactor.add(self, descriptor: descriptor)
      } catch {
        Glibc.close(descriptor)
        throw error
      }
    }
  }

  func newToken() -> UInt64 { lastToken.add(1, ordering: .relaxed).newValue }

  // MARK: - From callers

  /// Sends an encoded request and has `continuation` resumed once with what becomes of it.
  /// - Parameter descriptors: borrowed for the duration of this function.
  func start(
    _ call: Call, frame: consuming [UInt8], descriptors: [Int32], continuation: CheckedContinuation<Answer, Never>
  ) {
    var frame = frame
    let actions = state.withLock { state in
      var actions = Actions()
      if let end = state.end {
        actions.answers.append((continuation, .failure(ShimCallError(method: call.method, end: end))))
        return actions
      }
      let stream = state.nextStream
      // 2^31 calls at a thousand a second last for 24 days; a fresh connection starts again.
      guard stream < UInt32.max - 1 else { return close(&state, .failed(call: "next stream", errno: EOVERFLOW)) }
      FrameCodec.setStream(stream, of: &frame)
      do throws(ConnectionEnd) {
        try send(Outgoing(bytes: frame, offset: 0, descriptors: descriptors), &state)
      } catch {
        actions.answers.append((continuation, .failure(ShimCallError(method: call.method, end: error))))
        return actions
      }
      state.nextStream += 2
      state.pending[stream] = Pending(call: call, continuation: continuation)
      if let deadline = call.deadline { reactor.wake(at: deadline) }
      return actions
    }
    actions.perform()
  }

  /// Ends a call that its task no longer waits for. The shim is not told: it has no word for that.
  func abandon(_ token: UInt64) {
    let actions = state.withLock { state in
      var actions = Actions()
      if let (stream, pending) = state.pending.first(where: { $0.value.call.token == token }) {
        state.pending[stream] = nil
        actions.answers.append((pending.continuation, .failure(.cancelled(pending.call.method))))
      }
      return actions
    }
    actions.perform()
  }

  /// Has `observer` called once when the connection ends; at once if it has.
  func observe(_ observer: @escaping @Sendable (ConnectionEnd) -> Void) {
    let end = state.withLock { state in
      if state.end == nil { state.observers.append(observer) }
      return state.end
    }
    if let end { observer(end) }
  }

  func close(_ end: ConnectionEnd) {
    state.withLock { close(&$0, end) }.perform()
  }

  // MARK: - From the reactor

  /// Receives what has come and sends what waits.
  func ready(sending: Bool, buffer: UnsafeMutableRawBufferPointer) {
    let actions = state.withLock { state in
      guard state.end == nil else { return Actions() }
      var actions = Actions()
      do throws(ConnectionEnd) {
        if sending { try flush(&state) }
        try receive(&state, buffer, &actions)
      } catch {
        let closing = close(&state, error)
        actions.answers += closing.answers
        actions.observers = closing.observers
        actions.end = closing.end
      }
      return actions
    }
    actions.perform()
  }

  /// Fails the calls whose deadline is not after `now`.
  /// - Returns: the earliest deadline left.
  func expire(_ now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
    let (actions, next) = state.withLock { state in
      var actions = Actions()
      var next: ContinuousClock.Instant?
      for (stream, pending) in state.pending {
        guard let deadline = pending.call.deadline else { continue }
        if deadline > now {
          next = min(next ?? deadline, deadline)
        } else {
          state.pending[stream] = nil
          actions.answers.append((pending.continuation, .failure(.deadline(pending.call.method))))
        }
      }
      return (actions, next)
    }
    actions.perform()
    return next
  }

  // MARK: - Under the lock

  private func receive(
    _ state: inout State, _ buffer: UnsafeMutableRawBufferPointer, _ actions: inout Actions
  ) throws(ConnectionEnd) {
    // A bound, so that one shim with much to say does not keep the others waiting; epoll reports the rest again.
    for _ in 0..<16 {
      guard let count = try ShimSocket.receive(into: buffer, on: state.descriptor) else { return }
      do throws(FrameError) {
        if count == 0 { try state.decoder.finish() }
        for frame in try state.decoder.decode(UnsafeRawBufferPointer(rebasing: buffer[..<count]).bytes) {
          try accept(frame, &state, &actions)
        }
      } catch {
        throw .malformed(error)
      }
      if count == 0 { throw .closedByShim }
      if count < buffer.count { return }
    }
  }

  private func accept(_ frame: Frame, _ state: inout State, _ actions: inout Actions) throws(FrameError) {
    guard frame.type == Frame.response else { throw .unexpectedType(frame.type) }
    if let pending = state.pending.removeValue(forKey: frame.stream) {
      actions.answers.append((pending.continuation, .success(frame.payload)))
    } else if frame.stream % 2 == 0 || frame.stream >= state.nextStream {
      throw .unexpectedStream(frame.stream)
    }
    // Else it answers a call whose task was cancelled or whose deadline passed.
  }

  /// Sends a frame now, or keeps what the kernel does not take.
  private func send(_ frame: consuming Outgoing, _ state: inout State) throws(ConnectionEnd) {
    var frame = frame
    if state.outgoing.isEmpty {
      while frame.offset < frame.bytes.count {
        let passing = frame.offset == 0 ? frame.descriptors : []
        let sent: Int?
        do throws(ConnectionEnd) {
          sent = try ShimSocket.send(frame.bytes, from: frame.offset, passing: passing, on: state.descriptor)
        } catch {
          // Nothing of it went: only this call fails. Otherwise the reactor meets the same error and closes.
          if frame.offset == 0 { throw error }
          break
        }
        guard let sent else { break }
        frame.offset += sent
      }
      if frame.offset == frame.bytes.count { return }
    }
    guard state.outgoingBytes + frame.bytes.count <= Self.outgoingLimit else {
      throw .failed(call: "send", errno: ENOBUFS)
    }
    // The caller's own may be closed, and their numbers given to other files, before the frame goes.
    frame.descriptors = frame.offset == 0 ? try Self.copies(of: frame.descriptors) : []
    if state.outgoing.isEmpty {
      do throws(ConnectionEnd) {
        try reactor.watch(state.registration, descriptor: state.descriptor, sending: true)
      } catch {
        for copy in frame.descriptors { Glibc.close(copy) }
        throw error
      }
    }
    state.outgoingBytes += frame.bytes.count
    state.outgoing.append(frame)
  }

  private static func copies(of descriptors: [Int32]) throws(ConnectionEnd) -> [Int32] {
    var copies: [Int32] = []
    for descriptor in descriptors {
      let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
      guard copy >= 0 else {
        let reason = errno
        for made in copies { Glibc.close(made) }
        throw .failed(call: "fcntl F_DUPFD_CLOEXEC", errno: reason)
      }
      copies.append(copy)
    }
    return copies
  }

  private func flush(_ state: inout State) throws(ConnectionEnd) {
    while var frame = state.outgoing.first {
      let passing = frame.offset == 0 ? frame.descriptors : []
      guard
        let sent = try ShimSocket.send(frame.bytes, from: frame.offset, passing: passing, on: state.descriptor)
      else { return }
      for copy in frame.descriptors { Glibc.close(copy) }
      frame.descriptors = []
      frame.offset += sent
      if frame.offset < frame.bytes.count {
        state.outgoing[0] = frame
      } else {
        state.outgoing.removeFirst()
        state.outgoingBytes -= frame.bytes.count
      }
    }
    try reactor.watch(state.registration, descriptor: state.descriptor, sending: false)
  }

  private func close(_ state: inout State, _ end: ConnectionEnd) -> Actions {
    guard state.end == nil else { return Actions() }
    state.end = end
    reactor.remove(state.registration, descriptor: state.descriptor)
    Glibc.close(state.descriptor)
    for frame in state.outgoing { for copy in frame.descriptors { Glibc.close(copy) } }
    let actions = Actions(
      answers: state.pending.values.map {
        ($0.continuation, .failure(ShimCallError(method: $0.call.method, end: end)))
      }, observers: state.observers, end: end)
    state.outgoing = []
    state.pending = [:]
    state.observers = []
    return actions
  }
}
