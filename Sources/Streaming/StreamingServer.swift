package import LinuxSystem
package import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
package import RuntimeModel
import Synchronization

/// The server behind the URLs of Exec, Attach and PortForward. It listens from the first URL on, with one thread.
package final class StreamingServer: Sendable {
  private struct Listener: Sendable {
    var group: MultiThreadedEventLoopGroup
    var channel: any Channel
    var sessions: StreamingSessions
    /// `127.0.0.1:40000`
    var authority: String
  }

  private enum Phase {
    case idle
    case listening(Task<Listener, any Error>)
    case closed
  }

  private let configuration: StreamingConfiguration
  private let exits: ExitWatcher
  private let tokens: TokenTable
  private let logger: Logger
  private let phase = Mutex(Phase.idle)

  /// - Parameter exits: waits for the descriptors of processes, too.
  package init(_ configuration: StreamingConfiguration, exits: ExitWatcher, logger: Logger) {
    self.configuration = configuration
    self.exits = exits
    self.logger = logger
    tokens = TokenTable(life: configuration.tokenLife, limit: configuration.pendingTokens)
  }

  /// A URL for one client, good for one minute.
  /// - Throws: `resourceExhausted` when too many wait for their clients; `unavailable` when the server cannot listen.
  package func url(for target: StreamTarget) async throws(RuntimeError) -> String {
    let authority = try await listening().authority
    return "http://\(authority)/\(target.kind.rawValue)/\(try tokens.issue(target))"
  }

  /// Ends all sessions; what runs in containers goes on.
  package func close() async {
    let task = phase.withLock { phase -> Task<Listener, any Error>? in
      defer { phase = .closed }
      if case .listening(let task) = phase { return task }
      return nil
    }
    guard let listener = try? await task?.value else { return }
    try? await listener.channel.close().get()
    await listener.sessions.close()
    try? await listener.group.shutdownGracefully()
  }

  private func listening() async throws(RuntimeError) -> Listener {
    let task = phase.withLock { phase -> Task<Listener, any Error>? in
      switch phase {
      case .closed: return nil
      case .listening(let task): return task
      case .idle:
        let task = Task { try await self.listen() }
        phase = .listening(task)
        return task
      }
    }
    guard let task else { throw RuntimeError(.unavailable, "the streaming server has ended") }
    do {
      return try await task.value
    } catch {
      // The next request tries again.
      phase.withLock { if case .listening(let current) = $0, current == task { $0 = .idle } }
      throw RuntimeError(
        .unavailable, "streaming server on \(configuration.address) port \(configuration.port): \(error)")
    }
  }

  private func listen() async throws -> Listener {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    do {
      let sessions = StreamingSessions(configuration, Descriptors(group: group), exits, logger: logger)
      let channel = try await bootstrap(group, sessions)
        .bind(to: try SocketAddress(ipAddress: configuration.address, port: Int(configuration.port))).get()
      let host = configuration.address.contains(":") ? "[\(configuration.address)]" : configuration.address
      let authority = "\(host):\(channel.localAddress?.port ?? 0)"
      logger.info("streaming", metadata: ["address": "\(authority)"])
      return Listener(group: group, channel: channel, sessions: sessions, authority: authority)
    } catch {
      try? await group.shutdownGracefully()
      throw error
    }
  }

  private func bootstrap(_ group: MultiThreadedEventLoopGroup, _ sessions: StreamingSessions) -> ServerBootstrap {
    let gate = Gate(tokens: tokens)
    let crowd = Crowd(strangers: configuration.strangers, guests: configuration.connections)
    return ServerBootstrap(group: group).serverChannelOption(.backlog, value: 128)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      // The children have it from here, before their first window is told.
      .serverChannelOption(.socketOption(.so_rcvbuf), value: Descriptors.receiveBuffer)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.socketOption(.so_keepalive), value: 1)
      .childChannelOption(.maxMessagesPerRead, value: 1)
      .childChannelInitializer { [configuration] channel in
        channel.eventLoop.makeCompletedFuture {
          crowd.enter(channel)
          let pipeline = channel.pipeline.syncOperations
          try pipeline.addHandler(HeadLimit(bytes: configuration.headBytes, time: configuration.headTime))
          try pipeline.addHandler(HTTPResponseEncoder())
          try pipeline.addHandler(
            ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes)))
          try pipeline.addHandler(UpgradeHandler(gate: gate, crowd: crowd, begin: sessions.begin))
        }
      }
  }
}
