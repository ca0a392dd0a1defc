internal import Glibc
package import NIOCore
import Synchronization

extension Channel {
  /// Returns when the kernel has it: the one bound of what waits to be written. Ends early only with the channel.
  package func send(_ message: some Sendable) async throws { try await writeAndFlush(message).get() }

  /// Ends this side's half, after all that was sent.
  package func sendEnd() async { try? await close(mode: .output).get() }

  /// Has its closing tell the other side that what came is not the whole.
  fileprivate func closeAsReset() {
    _ = (self as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
  }
}

/// Passes bytes between a socket and a stream, until both directions have ended, each by itself, or one has failed.
///
/// A failure of the socket resets the stream.
/// - Parameters:
///   - channel: must let the other side end its half alone; closed in the end.
///   - cutIsReset: whether the socket's other side sees a reset where it did not get all, and no end that looks like one.
///   - socketEnded: done once nothing more comes from the socket.
/// - Throws: ``StreamIsReset``; what either connection fails with.
package func relay(
  _ channel: NIOAsyncChannel<ByteBuffer, Never>, _ data: SPDYStream, cutIsReset: Bool = false,
  socketEnded: @escaping @Sendable () async throws -> Void = {}
) async throws {
  do {
    try await pass(channel, data, cutIsReset, socketEnded)
  } catch {
    // Else whoever is at its other end would wait for as long as the connection lasts. With that it ends anyway.
    if !Task.isCancelled { try? await data.reset() }
    throw error
  }
}

private func pass(
  _ channel: NIOAsyncChannel<ByteBuffer, Never>, _ data: SPDYStream, _ cutIsReset: Bool,
  _ socketEnded: @escaping @Sendable () async throws -> Void
) async throws {
  let socket = channel.channel
  let whole = Whole()
  try await channel.executeThenClose { inbound in
    try await withThrowingTaskGroup(of: Bool.self) { group in
      defer {
        if cutIsReset, !whole.isSent.load(ordering: .acquiring) { socket.closeAsReset() }
        // A write that the other side does not read ends only so.
        socket.close(promise: nil)
        group.cancelAll()
      }
      group.addTask {
        while let bytes = await data.inbox.next() { try await socket.send(bytes) }
        // A reset empties the inbox, too, as a cancellation does, and must not look like an end.
        guard !data.wasReset else { throw StreamIsReset() }
        try Task.checkCancellation()
        await socket.sendEnd()
        whole.isSent.store(true, ordering: .releasing)
        return true
      }
      group.addTask {
        for try await bytes in inbound { try await data.send(bytes) }
        try await data.finish()
        try await socketEnded()
        return true
      }
      group.addTask {
        await data.isReset.wait()
        return false
      }
      do {
        for _ in 0..<2 { guard try await group.next() == true else { throw StreamIsReset() } }
      } catch {
        // What was sent on the stream to its end arrives, though nothing can be answered any more.
        if data.inbox.isFinished, !data.wasReset, !Task.isCancelled { _ = try? await group.next() }
        throw error
      }
    }
  }
}

/// Whether the socket got all that was sent on the stream, and its end.
private final class Whole: Sendable {
  let isSent = Atomic(false)
}
