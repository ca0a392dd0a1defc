import LinuxSystem
import NIOCore
import SPDY
import Synchronization

/// `portforward.k8s.io`: for each forwarded connection the client opens an error and a data stream with the same
/// `requestid` and `port` (CRI.md 5.5). Many at once; one that cannot be made is no end for the others.
final class PortForwardSession: Sendable {
  private struct Pair {
    var port: UInt16
    var data: SPDYStream?
    var error: SPDYStream?
    let began = ContinuousClock.now
  }

  private struct Open {
    /// Connections: the error stream of each by the number of its data stream.
    var errors: [UInt32: SPDYStream] = [:]
    /// Happens when there is none any more.
    var isEmpty: Once?
  }

  private let connector: any PortConnector
  private let descriptors: Descriptors
  private let reserve: Reserve
  private let configuration: StreamingConfiguration
  /// Those of which one stream is missing.
  private let halves = Mutex<[String: Pair]>([:])
  private let open = Mutex(Open())

  init(
    connector: any PortConnector, descriptors: Descriptors, reserve: Reserve, configuration: StreamingConfiguration
  ) {
    self.connector = connector
    self.descriptors = descriptors
    self.reserve = reserve
    self.configuration = configuration
  }

  /// Serves until the client closes or leaves; all connections end with it.
  /// - Throws: ``SPDYError``; what the connection fails with.
  func run(_ connection: SPDYConnection, next: () async throws -> ByteBuffer?) async throws {
    try await withThrowingDiscardingTaskGroup { group in
      defer { group.cancelAll() }
      group.addTask { await self.dropHalves() }
      try await connection.run(
        isCut: true, next: next, unblock: (stream: { try await self.unblock($0) }, after: configuration.stuckTime)
      ) { stream, headers in
        guard let pair = try await self.join(stream, headers) else { return false }
        if let data = pair.data, let error = pair.error {
          open.withLock { $0.errors[data.id] = error }
          group.addTask { await self.forward(pair.port, data, error) }
        }
        return true
      }
      await drain()
    }
  }

  /// What the client has sent before it closed may still be on its way.
  private func drain() async {
    let isEmpty = Once()
    let isThere = open.withLock { open in
      open.isEmpty = isEmpty
      return !open.errors.isEmpty
    }
    if isThere { try? await within(configuration.lingerTime, "the end of connections") { await isEmpty.wait() } }
  }

  /// - Returns: the pair that the stream belongs to, maybe incomplete; nil for a stream that no pair can have.
  private func join(_ stream: SPDYStream, _ headers: SPDYHeaders) async throws -> Pair? {
    guard let port = headers["port"].flatMap(UInt16.init), port > 0, let type = headers["streamtype"],
      type == "data" || type == "error"
    else { return nil }
    // Old clients name no request: the error stream is the first of the two.
    let first = type == "error" || stream.id < 2 ? stream.id : stream.id - 2
    let request = headers["requestid"] ?? "\(first)"
    return halves.withLock { halves in
      var pair = halves[request] ?? Pair(port: port)
      guard pair.port == port, (type == "data" ? pair.data : pair.error) == nil,
        halves.count < SPDYConnection.streamLimit
      else { return nil }
      if type == "data" {
        pair.data = stream
      } else {
        pair.error = stream
        // Nothing is to come on it, and nobody would take it.
        stream.inbox.close()
      }
      halves[request] = pair.data == nil || pair.error == nil ? pair : nil
      return pair
    }
  }

  /// Tells the client of pairs that stay incomplete, and forgets them.
  private func dropHalves() async {
    let creationTime = configuration.creationTime
    while (try? await Task.sleep(for: min(creationTime / 4, .seconds(5)))) != nil {
      let old = halves.withLock { halves in
        let now = ContinuousClock.now
        let old = halves.filter { now - $0.value.began > creationTime }
        for request in old.keys { halves[request] = nil }
        return old
      }
      for pair in old.values {
        if let error = pair.error {
          try? await tell(error, "no data stream for port \(pair.port) within \(creationTime)")
        }
        try? await pair.data?.reset()
      }
    }
  }

  /// A server in the pod that does not read must not hold up the client's other connections: with such the one that it
  /// holds up ends. Alone it may be as slow as it likes; but the client may have given up meanwhile, and that stands
  /// behind what it had sent.
  private func unblock(_ data: SPDYStream) async throws -> Bool {
    let (error, count) = open.withLock { ($0.errors[data.id], $0.errors.count) }
    guard count > 1, let error else {
      guard let lease = reserve.take() else { return false }
      return data.inbox.extend(by: Reserve.share, lease)
    }
    try await tell(
      error, "nothing has been read from this connection for \(configuration.stuckTime), and others wait for it")
    try await data.reset()
    return true
  }

  private func forward(_ port: UInt16, _ data: SPDYStream, _ error: SPDYStream) async {
    defer {
      data.inbox.close()
      open.withLock { open in
        open.errors[data.id] = nil
        if open.errors.isEmpty { open.isEmpty?.happen() }
      }
    }
    let channel: ReadingChannel
    do {
      channel = try await descriptors.socket(try await connector.connect(to: port))
    } catch let failure {
      // So that the client can try again on this connection.
      try? await tell(error, "\(failure)")
      try? await data.reset()
      return
    }
    // There are clients that end their half only when they know that there was no error.
    try? await relay(channel, data, cutIsReset: true) { try await error.finish() }
    try? await error.finish()
  }

  private func tell(_ stream: SPDYStream, _ text: String) async throws {
    try await stream.send(ByteBuffer(string: text))
    try await stream.finish()
  }
}
