import Dispatch
import Foundation
import Glibc

/// Standard input, piece by piece, read on a thread of its own: it may be a file, a pipe or a terminal, and must not be
/// made non-blocking, because whoever started us shares it.
struct InputReader: Sendable {
  private static let pieceSize = 32 << 10

  /// Ends at the end of input. The next piece is read only after ``taken()``: what is read is never more than one piece
  /// ahead of what was sent.
  let pieces: AsyncStream<[UInt8]>
  private let room = DispatchSemaphore(value: 0)

  init() {
    let room = room
    pieces = AsyncStream { continuation in
      // It may wait in read(2) for ever; the process's end ends it.
      let reading = Thread {
        var buffer = [UInt8](repeating: 0, count: InputReader.pieceSize)
        while true {
          let count = read(0, &buffer, buffer.count)
          if count < 0, errno == EINTR { continue }
          guard count > 0 else { break }
          guard case .enqueued = continuation.yield(Array(buffer[..<count])) else { return }
          room.wait()
        }
        continuation.finish()
      }
      reading.start()
    }
  }

  /// The last piece has been sent.
  func taken() {
    room.signal()
  }
}
