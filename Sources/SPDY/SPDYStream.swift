package import NIOCore
import Synchronization

/// The client has reset the stream, or this side has.
package struct StreamIsReset: Error, CustomStringConvertible {
  package init() {}

  package var description: String { "the client has reset the stream" }
}

/// Writes a frame, and waits while the client does not read.
package typealias FrameWriter = @Sendable (ByteBuffer) async throws -> Void

/// One stream that the client has opened.
package final class SPDYStream: Sendable {
  package let id: UInt32
  /// What the client sends on it.
  package let inbox = Inbox()
  /// Happens when either side resets it.
  package let isReset = Once()

  private enum Phase { case open, finished, reset }
  private let phase = Mutex(Phase.open)
  private let write: FrameWriter
  private let onEnd: @Sendable (UInt32, Bool) -> Void
  /// Bytes of a data frame: small enough for others to come in between.
  private static let frameSize = 32 << 10

  /// - Parameter onEnd: called when this side has ended its half, or with true the whole.
  package init(id: UInt32, write: @escaping FrameWriter, onEnd: @escaping @Sendable (UInt32, Bool) -> Void) {
    self.id = id
    self.write = write
    self.onEnd = onEnd
  }

  /// - Throws: ``StreamIsReset``; what the connection fails with.
  package func send(_ bytes: ByteBuffer) async throws {
    var bytes = bytes
    while let piece = bytes.readSlice(length: min(bytes.readableBytes, Self.frameSize)), piece.readableBytes > 0 {
      guard phase.withLock({ $0 == .open }) else { throw StreamIsReset() }
      try await write(SPDYEncoder.data(id, piece))
    }
  }

  /// Ends this side's half; idempotent.
  /// - Throws: what the connection fails with.
  package func finish() async throws {
    let isFirst = phase.withLock { phase in
      guard phase == .open else { return false }
      phase = .finished
      return true
    }
    guard isFirst else { return }
    try await write(SPDYEncoder.data(id, ByteBuffer(), isLast: true))
    onEnd(id, false)
  }

  /// Ends both halves at once; idempotent.
  package func reset(_ status: UInt32 = SPDYFrame.ResetStatus.cancel) async throws {
    guard abandon() else { return }
    try await write(SPDYEncoder.reset(id, status))
    onEnd(id, true)
  }

  /// Whether it ended by a reset: what has come is not the whole then.
  package var wasReset: Bool { phase.withLock { $0 == .reset } }

  /// The other side has reset it, or is gone.
  /// - Returns: false when that was known.
  @discardableResult
  package func abandon() -> Bool {
    let isFirst = phase.withLock { phase in
      defer { phase = .reset }
      return phase != .reset
    }
    inbox.close()
    isReset.happen()
    return isFirst
  }
}
