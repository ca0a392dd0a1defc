package import NIOCore
import Synchronization

/// What came from the client for one stream and was not taken yet: bounded, so that a reader that is slow makes the client
/// wait and nothing else grow. One task puts, one takes; the cancellation of either closes it.
package final class Inbox: Sendable {
  private struct State {
    var queue = CircularBuffer<ByteBuffer>()
    var charge = 0
    var isFinished = false
    var isClosed = false
    var putter: CheckedContinuation<Void, Never>?
    var taker: CheckedContinuation<ByteBuffer?, Never>?
  }

  private static let limit = 64 << 10
  /// What an entry costs besides its bytes.
  private static let overhead = 256
  private let state = Mutex(State())

  package init() {}

  /// Waits while the inbox is full; forgets the bytes when it is closed.
  package func put(_ bytes: ByteBuffer) async {
    guard bytes.readableBytes > 0 else { return }
    // A slice keeps all of the block alive that it was read into.
    let entry = bytes.storageCapacity > 2 * bytes.readableBytes ? ByteBuffer(bytes: bytes.readableBytesView) : bytes
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let (taker, isDone) = state.withLock { state -> (CheckedContinuation<ByteBuffer?, Never>?, Bool) in
          guard !state.isClosed, !state.isFinished else { return (nil, true) }
          if let taker = state.taker {
            state.taker = nil
            return (taker, true)
          }
          state.queue.append(entry)
          state.charge += entry.readableBytes + Self.overhead
          guard state.charge > Self.limit else { return (nil, true) }
          state.putter = continuation
          return (nil, false)
        }
        taker?.resume(returning: entry)
        if isDone { continuation.resume() }
      }
    } onCancel: {
      close()
    }
  }

  /// - Returns: nil at the end, and when it is closed.
  package func next() async -> ByteBuffer? {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let (putter, answer) = state.withLock { state -> (CheckedContinuation<Void, Never>?, ByteBuffer??) in
          guard let entry = state.queue.popFirst() else {
            if state.isFinished || state.isClosed { return (nil, .some(nil)) }
            state.taker = continuation
            return (nil, nil)
          }
          state.charge -= entry.readableBytes + Self.overhead
          guard state.charge <= Self.limit else { return (nil, entry) }
          defer { state.putter = nil }
          return (state.putter, entry)
        }
        putter?.resume()
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

  /// Nobody takes any more: what is there and what comes is forgotten.
  package func close() {
    let (putter, taker) = state.withLock { state in
      state.isClosed = true
      state.queue.removeAll()
      state.charge = 0
      defer { (state.putter, state.taker) = (nil, nil) }
      return (state.putter, state.taker)
    }
    putter?.resume()
    taker?.resume(returning: nil)
  }
}
