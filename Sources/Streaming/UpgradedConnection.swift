import NIOCore
import SPDY

/// One connection from its 101 to its end: a reader that takes what the client sends, and where there is one a session
/// that answers. Whatever ends first, the connection closes, and with it everything that waits on it.
struct UpgradedConnection: Sendable {
  let outlet: Outlet
  let configuration: StreamingConfiguration

  private enum Part {
    /// All that the client has sent is taken, and it has closed.
    case reader
    /// The client has closed, or left; the reader may have to wait before it learns.
    case gone
    case session
    /// What is waited for no longer.
    case limit
  }

  /// - Parameters:
  ///   - reader: returns when the client has closed.
  ///   - session: returns when the client has been told everything; nil where the reader is all.
  ///   - handedOver: happens when what came from the client has been given to whom it was for.
  ///   - ended: returns when there is nothing any more that the client could be connected to.
  /// - Throws: what ended the first of them.
  func run(
    reader: @escaping @Sendable () async throws -> Void, session: (@Sendable () async throws -> Void)? = nil,
    handedOver: Once = Once(), ended: (@Sendable () async -> Void)? = nil
  ) async throws {
    try await withThrowingTaskGroup(of: Part.self) { group in
      defer {
        outlet.channel.close(promise: nil)
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
      if let ended {
        group.addTask {
          await ended()
          return .limit
        }
      }
      watch(&group)
      let first = try await group.next()
      if first == .limit || session == nil && first == .reader { return }
      linger(&group, after: first, handedOver)
      while let part = try? await group.next() {
        // The reader's end is not that of what it has handed on.
        guard part == .reader || part == .gone else { return }
        if first == .session || session == nil && part == .reader { return }
      }
    }
  }

  private func watch(_ group: inout ThrowingTaskGroup<Part, any Error>) {
    group.addTask { [outlet, configuration] in
      try await outlet.idle.watch(configuration.idleTime)
      return .limit
    }
    group.addTask { [outlet] in
      // Not cancelled, but the channel closes with the group.
      try? await outlet.channel.closeFuture.get()
      return .gone
    }
  }

  private func linger(
    _ group: inout ThrowingTaskGroup<Part, any Error>, after first: Part?, _ handedOver: Once
  ) {
    if first != .session {
      group.addTask {
        await handedOver.wait()
        return .limit
      }
    }
    group.addTask { [outlet, configuration] in
      if first == .session {
        // A client that reads slowly has as long for the end as it had for the rest.
        await outlet.end()
        try await outlet.delivered(lookingEvery: configuration.lingerTime / 5)
      }
      try await Task.sleep(for: configuration.lingerTime)
      return .limit
    }
  }
}
