package import NIOCore

extension Channel {
  /// Returns when the kernel has it: the one bound of what waits to be written. Ends early only with the channel.
  package func send(_ message: some Sendable) async throws { try await writeAndFlush(message).get() }

  /// Ends this side's half, after all that was sent.
  package func sendEnd() async { try? await close(mode: .output).get() }
}

/// Passes bytes between a socket and a stream, until both directions have ended, each by itself, or one has failed.
///
/// A failure of the socket resets the stream.
/// - Parameters:
///   - channel: must let the other side end its half alone; closed in the end.
///   - socketEnded: done once nothing more comes from the socket.
/// - Throws: ``StreamIsReset``; what either connection fails with.
package func converse(
  _ channel: NIOAsyncChannel<ByteBuffer, Never>, _ data: SPDYStream,
  socketEnded: @escaping @Sendable () async throws -> Void = {}
) async throws {
  do {
    try await pass(channel, data, socketEnded)
  } catch {
    // Else whoever is at its other end would wait for as long as the connection lasts. With that it ends anyway.
    if !Task.isCancelled { try? await data.reset() }
    throw error
  }
}

private func pass(
  _ channel: NIOAsyncChannel<ByteBuffer, Never>, _ data: SPDYStream,
  _ socketEnded: @escaping @Sendable () async throws -> Void
) async throws {
  let socket = channel.channel
  try await channel.executeThenClose { inbound in
    try await withThrowingTaskGroup(of: Bool.self) { group in
      defer {
        // A write that the other side does not read ends only so.
        socket.close(promise: nil)
        group.cancelAll()
      }
      group.addTask {
        while let bytes = await data.inbox.next() { try await socket.send(bytes) }
        // A reset empties the inbox, too, and must not look like an end.
        guard !data.wasReset else { throw StreamIsReset() }
        await socket.sendEnd()
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
      var directions = 2
      while directions > 0 {
        guard try await group.next() == true else { throw StreamIsReset() }
        directions -= 1
      }
    }
  }
}
