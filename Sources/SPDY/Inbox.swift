package import NIOCore
import Synchronization

/// What came from the client for one stream and was not taken yet: bounded, so that a reader that is slow makes the client
/// wait and nothing else grow. One task puts, one takes; the cancellation of either closes it.
package final class Inbox: Sendable {
  private struct State {
    var queue = CircularBuffer<ByteBuffer>()
    var charge = 0
    var limit = Inbox.limit
    /// What makes the limit higher, as long as it is so.
    var lease: (any Sendable)?
    /// How often something was taken.
    var taken = 0
    /// Of the last wait that may give up: a timer that is late gives up no other.
    var turn = 0
    var isFinished = false
    var isClosed = false
    var putter: CheckedContinuation<Bool, Never>?
    var taker: CheckedContinuation<ByteBuffer?, Never>?

    var hasRoom: Bool { isClosed || charge <= limit }
  }

  private static let limit = 64 << 10
  /// What an entry costs besides its bytes.
  private static let overhead = 256
  private let state = Mutex(State())

  package init() {}

  /// Waits while the inbox is full; forgets the bytes when it is closed.
  package func put(_ bytes: ByteBuffer) async {
    add(bytes)
    await room()
  }

  /// As ``put(_:)``, but gives up.
  /// - Parameter patience: nil: for as long as it takes.
  /// - Returns: false when the inbox is full and nothing was taken for that long. The bytes are in it all the same.
  package func put(_ bytes: ByteBuffer, within patience: Duration?) async -> Bool {
    add(bytes)
    return await room(within: patience)
  }

  /// Waits until there is room.
  /// - Returns: as ``put(_:within:)``.
  package func room(within patience: Duration?) async -> Bool {
    guard let patience, !state.withLock({ $0.hasRoom }) else {
      await room()
      return true
    }
    while true {
      let (taken, turn) = state.withLock { state in
        state.turn += 1
        return (state.taken, state.turn)
      }
      let timer = Task { [weak self] in
        try await Task.sleep(for: patience)
        self?.giveUp(turn)
      }
      defer { timer.cancel() }
      if await room() { return true }
      if state.withLock({ $0.taken }) == taken { return false }
    }
  }

  /// - Returns: nil at the end, and when it is closed.
  package func next() async -> ByteBuffer? {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let (putter, answer) = state.withLock { state -> (CheckedContinuation<Bool, Never>?, ByteBuffer??) in
          guard let entry = state.queue.popFirst() else {
            if state.isFinished || state.isClosed { return (nil, .some(nil)) }
            state.taker = continuation
            return (nil, nil)
          }
          state.charge -= entry.readableBytes + Self.overhead
          state.taken += 1
          guard state.hasRoom else { return (nil, entry) }
          defer { state.putter = nil }
          return (state.putter, entry)
        }
        putter?.resume(returning: true)
        if let answer { continuation.resume(returning: answer) }
      }
    } onCancel: {
      close()
    }
  }

  /// Nothing more comes; what is there can be taken.
  package func finish() {
    let taker = state.withLock { state in
      state.isFinished = true
      defer { state.taker = nil }
      return state.taker
    }
    taker?.resume(returning: nil)
  }

  /// Whether all that is to come has come, and the inbox is open.
  package var isFinished: Bool { state.withLock { $0.isFinished && !$0.isClosed } }

  /// Nobody takes any more: what is there and what comes is forgotten.
  package func close() {
    let (putter, taker, _) = state.withLock { state in
      state.isClosed = true
      state.queue.removeAll()
      state.charge = 0
      defer { (state.putter, state.taker, state.lease) = (nil, nil, nil) }
      return (state.putter, state.taker, state.lease)
    }
    putter?.resume(returning: true)
    taker?.resume(returning: nil)
  }

  /// Lets it hold more, once.
  /// - Parameter lease: kept until it is closed or gone.
  /// - Returns: false when it has one.
  package func extend(by bytes: Int, _ lease: any Sendable) -> Bool {
    state.withLock { state in
      guard state.lease == nil, !state.isClosed else { return false }
      state.lease = lease
      state.limit += bytes
      return true
    }
  }

  private func add(_ bytes: ByteBuffer) {
    guard bytes.readableBytes > 0 else { return }
    // A slice keeps all of the block alive that it was read into.
    let entry = bytes.storageCapacity > 2 * bytes.readableBytes ? ByteBuffer(bytes: bytes.readableBytesView) : bytes
    let taker = state.withLock { state -> CheckedContinuation<ByteBuffer?, Never>? in
      guard !state.isClosed, !state.isFinished else { return nil }
      if state.taker == nil {
        state.queue.append(entry)
        state.charge += entry.readableBytes + Self.overhead
      }
      defer { state.taker = nil }
      return state.taker
    }
    taker?.resume(returning: entry)
  }

  /// - Returns: false when it has given up.
  @discardableResult
  private func room() async -> Bool {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let hasRoom = state.withLock { state in
          if !state.hasRoom { state.putter = continuation }
          return state.hasRoom
        }
        if hasRoom { continuation.resume(returning: true) }
      }
    } onCancel: {
      close()
    }
  }

  private func giveUp(_ turn: Int) {
    let putter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
      guard turn == state.turn else { return nil }
      defer { state.putter = nil }
      return state.putter
    }
    putter?.resume(returning: false)
  }
}
