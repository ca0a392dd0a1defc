import NIOCore
import NIOPosix
import SPDY
import Synchronization

/// Listens on this node, and passes each connection to a port of a pod: all of them over one connection to the runtime.
struct PortForwarder: Sendable {
  typealias Listener = NIOAsyncChannel<UpgradedConnection.Stream, Never>

  /// What the runtime's word on a connection that failed may take.
  private static let patience = Duration.seconds(5)
  private static let version = "portforward.k8s.io"

  let pod: String
  /// For messages and errors.
  let terminal: Terminal

  /// Serves until it is cancelled.
  ///
  /// - Parameters:
  ///   - addresses: to listen on; one that is not there is passed over, as long as another is.
  ///   - listening: told of each address once it listens.
  /// - Throws: ``ClientError`` when a port is taken, or the runtime ends the session.
  func run(
    at url: SessionURL, ports: [ForwardedPort], addresses: [String],
    listening: @Sendable (SocketAddress, ForwardedPort) -> Void
  ) async throws {
    let connection = try await UpgradedConnection.open(url)
    try await connection.stream.executeThenClose { inbound in
      let client = try SPDYClient(connection.stream.channel)
      var pieces = inbound.makeAsyncIterator()
      let first = try await connection.upgrade(url, protocol: Self.version) { try await pieces.next() }
      try await withThrowingTaskGroup(of: Void.self) { group in
        defer { group.cancelAll() }
        for port in ports {
          for listener in try await listen(port, addresses) {
            // At once: a listener that is dropped unserved is a fault to NIO, whatever else fails.
            group.addTask { try await serve(listener, port, client) }
            if let address = listener.channel.localAddress { listening(address, port) }
          }
        }
        try await client.run(first) { try await pieces.next() }
        try Task.checkCancellation()
        throw ClientError(.failed, "cannot forward to \(pod) any longer", why: "the runtime has closed the session")
      }
    }
  }

  private func listen(_ port: ForwardedPort, _ addresses: [String]) async throws -> [Listener] {
    var listeners: [Listener] = []
    var failure: (any Error)?
    // The second address gets the port that the kernel chose for the first.
    var number = Int(port.local)
    for address in addresses {
      do {
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
          .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
          .childChannelOption(.allowRemoteHalfClosure, value: true)
          .childChannelOption(.maxMessagesPerRead, value: 1)
          .bind(host: address, port: number) { channel in
            channel.eventLoop.makeCompletedFuture {
              try UpgradedConnection.Stream(wrappingChannelSynchronously: channel)
            }
          }
        number = listener.channel.localAddress?.port ?? number
        listeners.append(listener)
      } catch {
        failure = error
      }
    }
    guard !listeners.isEmpty else {
      throw ClientError(
        .failed, "cannot listen on \(addresses.joined(separator: ", ")) port \(port.local)",
        why: failure.map { "\($0)" },
        remedy: "another local port: \(port.local &+ 1):\(port.remote), or :\(port.remote)")
    }
    return listeners
  }

  private func serve(_ listener: Listener, _ port: ForwardedPort, _ client: SPDYClient) async throws {
    try await listener.executeThenClose { connections in
      try await withThrowingDiscardingTaskGroup { group in
        for try await local in connections {
          group.addTask { await forward(local, port.remote, client) }
        }
      }
    }
  }

  /// One connection, from its beginning to both its ends. Its failure is told, and is not the others'.
  private func forward(_ local: UpgradedConnection.Stream, _ port: UInt16, _ client: SPDYClient) async {
    let request = "\(Self.counter.add(1, ordering: .relaxed).newValue)"
    do {
      var headers = ["streamtype": "error", "port": "\(port)", "requestid": request]
      let error = try await client.open(headers, isLast: true)
      headers["streamtype"] = "data"
      let data = try await client.open(headers)
      defer {
        client.forget(data.id)
        client.forget(error.id)
      }
      let talk = Task { try await relay(local, data) }
      let result = await withTaskCancellationHandler {
        await talk.result
      } onCancel: {
        talk.cancel()
      }
      if case .failure(let failure) = result {
        // The pod's side learns of it; nothing that still comes waits for somebody to take it.
        try? await data.reset()
        await tell(error, port, failure)
      }
    } catch {
      try? await local.executeThenClose { _ in }
      if !Task.isCancelled { terminal.note("\(pod) port \(port): \(error)") }
    }
  }

  private static let counter = Atomic<UInt64>(0)

  /// Why a connection failed: in the runtime's words, when it has some.
  private func tell(_ stream: SPDYStream, _ port: UInt16, _ failure: any Error) async {
    guard !Task.isCancelled else { return }
    let reading = Task {
      var text = ""
      while text.utf8.count < 4096, let piece = await stream.inbox.next() { text += String(buffer: piece) }
      return text
    }
    let timer = Task {
      try await Task.sleep(for: Self.patience)
      stream.inbox.close()
    }
    let text = await reading.value
    timer.cancel()
    // A person who closes a page half-way is no news.
    guard failure is StreamIsReset || !text.isEmpty else { return }
    terminal.note("\(pod) port \(port): \(text.isEmpty ? "the runtime has reset the connection" : text)")
  }
}
