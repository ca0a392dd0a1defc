import NIOCore
import SPDY

/// One connection from its 101 to its end: a reader that takes what the client sends, and where there is one a session
/// that answers. Whatever ends first, the connection closes, and with it everything that waits on it.
struct Exchange: Sendable {
  let channel: any Channel
  let idle: IdleClock
  let configuration: StreamingConfiguration

  private enum Part {
    /// The client has closed, or left.
    case reader
    case session
    /// What is waited for no longer.
    case limit
  }

  /// - Parameters:
  ///   - reader: returns when the client has closed.
  ///   - session: returns when the client has been told everything; nil where the reader is all.
  ///   - handedOver: happens when what came from the client has been given to whom it was for.
  /// - Throws: what ended the first of them.
  func run(
    reader: @escaping @Sendable () async throws -> Void, session: (@Sendable () async throws -> Void)? = nil,
    handedOver: Once = Once()
  ) async throws {
    try await withThrowingTaskGroup(of: Part.self) { group in
      defer {
        channel.close(promise: nil)
        group.cancelAll()
      }
      group.addTask {
        try await reader()
        return .reader
      }
      if let session {
        group.addTask {
          try await session()
          return .session
        }
      }
      group.addTask { [idle, configuration] in
        try await idle.watch(configuration.idleTime)
        return .limit
      }
      let first = try await group.next()
      guard session != nil, first != .limit else { return }
      if first == .session {
        // Until the client has read to the end: to close with bytes unread would take back what it has not read.
        await channel.sendEnd()
      } else {
        group.addTask {
          await handedOver.wait()
          return .limit
        }
      }
      group.addTask { [configuration] in
        try await Task.sleep(for: configuration.lingerTime)
        return .limit
      }
      _ = try? await group.next()
    }
  }
}
