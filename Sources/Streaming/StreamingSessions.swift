import LinuxSystem
import Logging
import NIOCore
import NIOWebSocket
import SPDY
import Synchronization

/// The sessions on upgraded connections, each in a task of its own that ends with its connection.
final class StreamingSessions: Sendable {
  private struct State {
    var tasks: [UInt64: Task<Void, Never>] = [:]
    /// Those of commands and attachments.
    var commands: Set<UInt64> = []
    var last: UInt64 = 0
    var isClosed = false
  }

  private let configuration: StreamingConfiguration
  private let descriptors: Descriptors
  private let exits: ExitWatcher
  private let logger: Logger
  /// 32 MiB.
  private let reserve = Reserve(shares: 8)
  private let state = Mutex(State())

  init(_ configuration: StreamingConfiguration, _ descriptors: Descriptors, _ exits: ExitWatcher, logger: Logger) {
    self.configuration = configuration
    self.descriptors = descriptors
    self.exits = exits
    self.logger = logger
  }

  /// Adds what the session needs to the channel's pipeline, and begins it. On the channel's event loop.
  func begin(_ upgrade: Upgrade, _ channel: any Channel) throws {
    let upgraded = UpgradedConnection(outlet: Outlet(channel), configuration: configuration)
    switch upgrade {
    case .spdy(let name, let target):
      let reading = try Descriptors.wrap(channel)
      start(isCommand: target.kind != .portForward) {
        try await reading.executeThenClose { inbound in
          switch target {
          case .portForward(let connector): try await self.forward(upgraded, inbound, connector)
          case .exec(let process), .attach(let process):
            try await self.command(upgraded, inbound, process, SPDYDialect(name))
          }
        }
      }
    case .webSocket(let name, let target):
      let frames = try WebSocketPipeline.add(to: channel)
      start(isCommand: target.kind != .portForward) {
        try await frames.executeThenClose { inbound in
          let writer = WebSocketWriter(outlet: upgraded.outlet)
          switch target {
          case .portForward(let connector): try await self.forward(upgraded, inbound, writer, connector)
          case .exec(let process), .attach(let process):
            try await self.command(upgraded, inbound, writer, process, WebSocketDialect(name))
          }
        }
      }
    }
  }

  /// What a command's client may take to hear of the end.
  private static let farewell = Duration.seconds(1)

  /// Ends all, and returns when they have ended.
  ///
  /// Commands first end by themselves, as far as their processes let go of them: client-go takes a connection that ends
  /// without a status for a command that has succeeded.
  func close() async {
    let (tasks, commands) = state.withLock { state in
      state.isClosed = true
      return (state.tasks, state.commands)
    }
    for (number, task) in tasks where !commands.contains(number) { task.cancel() }
    let timer = Task {
      try await Task.sleep(for: Self.farewell)
      for task in tasks.values { task.cancel() }
    }
    for task in tasks.values { await task.value }
    timer.cancel()
  }

  private func start(isCommand: Bool, _ body: @escaping @Sendable () async throws -> Void) {
    state.withLock { state in
      state.last += 1
      let number = state.last
      let task = Task { [self] in
        do {
          try await body()
        } catch {
          logger.debug("a streaming connection ends", metadata: ["because": "\(error)"])
        }
        self.state.withLock { state in
          state.tasks[number] = nil
          state.commands.remove(number)
        }
      }
      state.tasks[number] = task
      if isCommand { state.commands.insert(number) }
      // The body begins all the same: it closes the channel.
      if state.isClosed { task.cancel() }
    }
  }

  private func session(
    _ process: any StreamedProcess, _ client: any CommandClient, _ stdin: Inbox, _ resize: Inbox, _ stdinIsDone: Once
  ) -> CommandSession {
    CommandSession(
      process: process, client: client, stdin: stdin, resize: resize, exits: exits,
      drainTime: configuration.drainTime, stdinIsDone: stdinIsDone)
  }
}

// SPDY.
extension StreamingSessions {
  private func command(
    _ upgraded: UpgradedConnection, _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>, _ process: any StreamedProcess,
    _ dialect: SPDYDialect
  ) async throws {
    let connection = SPDYConnection { [outlet = upgraded.outlet] in try await outlet.send($0) }
    let roles = SPDYRoles(process.selection, dialect: dialect)
    let stdinIsDone = Once()
    try await upgraded.run(
      reader: {
        var iterator = inbound.makeAsyncIterator()
        try await connection.run {
          upgraded.outlet.idle.touch()
          return try await iterator.next()
        } accept: { stream, headers in
          roles.add(stream, headers)
        }
      },
      session: { [configuration] in
        defer { stdinIsDone.happen() }
        let streams = try await roles.all(within: configuration.creationTime)
        let client = SPDYCommandClient(roles: streams, dialect: dialect)
        let (stdin, resize) = (streams[.stdin]?.inbox ?? Inbox(), streams[.resize]?.inbox ?? Inbox())
        try await self.session(process, client, stdin, resize, stdinIsDone).run()
      }, handedOver: stdinIsDone)
  }

  private func forward(
    _ upgraded: UpgradedConnection, _ inbound: NIOAsyncChannelInboundStream<ByteBuffer>, _ connector: any PortConnector
  ) async throws {
    let connection = SPDYConnection { [outlet = upgraded.outlet] in try await outlet.send($0) }
    let session = PortForwardSession(
      connector: connector, descriptors: descriptors, reserve: reserve, configuration: configuration)
    try await upgraded.run(
      reader: {
        var iterator = inbound.makeAsyncIterator()
        try await session.run(connection) {
          upgraded.outlet.idle.touch()
          return try await iterator.next()
        }
      }, ended: connector.ended)
  }
}

// WebSocket.
extension StreamingSessions {
  private func command(
    _ upgraded: UpgradedConnection, _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>, _ writer: WebSocketWriter,
    _ process: any StreamedProcess, _ dialect: WebSocketDialect
  ) async throws {
    let client = WebSocketCommandClient(writer: writer, dialect: dialect, selection: process.selection)
    let input = WebSocketInput(dialect: dialect, stdin: Inbox(), resize: Inbox())
    let stdinIsDone = Once()
    try await client.greet()
    try await upgraded.run(
      reader: {
        try await writer.blaming {
          var messages = WebSocketMessages(inbound, writer)
          try await input.run(&messages)
        }
      },
      session: {
        try await self.session(process, client, input.stdin, input.resize, stdinIsDone).run()
      }, handedOver: stdinIsDone)
  }

  /// A SPDY connection inside of binary messages, whose borders mean nothing.
  private func forward(
    _ upgraded: UpgradedConnection, _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>, _ writer: WebSocketWriter,
    _ connector: any PortConnector
  ) async throws {
    let connection = SPDYConnection { try await writer.send(.binary, $0) }
    let session = PortForwardSession(
      connector: connector, descriptors: descriptors, reserve: reserve, configuration: configuration)
    try await upgraded.run(
      reader: {
        try await writer.blaming {
          var messages = WebSocketMessages(inbound, writer)
          try await session.run(connection) { try await messages.next()?.bytes }
        }
      }, ended: connector.ended)
  }
}
