import NIOCore
import SPDY
import Synchronization

/// The client's side of one SPDY/3.1 connection: opens streams, and hands out what comes on them.
///
/// Nothing is read while a stream's inbox is full, as with the server: SPDY's own flow control is unknown to the peers.
final class SPDYClient: Sendable {
  private struct State {
    let encoder: SPDYEncoder
    var newest: UInt32 = 1
    var streams: [UInt32: SPDYStream] = [:]
    /// The connection has ended: nothing more can be opened.
    var isOver = false
  }

  private let channel: any Channel
  private let state: Mutex<State>

  /// - Throws: ``SPDYError`` without memory.
  init(_ channel: any Channel) throws(SPDYError) {
    self.channel = channel
    state = Mutex(State(encoder: try SPDYEncoder()))
  }

  /// - Parameter isLast: whether this side sends nothing on it.
  /// - Throws: what the connection fails with.
  func open(_ headers: [String: String], isLast: Bool = false) async throws -> SPDYStream {
    let channel = channel
    let (stream, written) = try state.withLock { state in
      guard !state.isOver else { throw ChannelError.ioOnClosedChannel }
      let id = state.newest
      state.newest += 2
      let stream = SPDYStream(
        id: id, write: { try await channel.writeAndFlush($0).get() }
      ) { [weak self] id, whole in if whole { self?.forget(id) } }
      state.streams[id] = stream
      // Header blocks are one compressed stream: they must leave in the order in which they are made.
      let frame = try state.encoder.synStream(id, SPDYHeaders(headers), isLast: isLast)
      return (stream, channel.writeAndFlush(frame))
    }
    try await written.get()
    return stream
  }

  /// Serves until the server closes.
  ///
  /// - Parameter bytes: what has come already.
  /// - Throws: ``SPDYError``; what the connection fails with.
  func run(_ bytes: ByteBuffer, next: () async throws -> ByteBuffer?) async throws {
    defer { end() }
    var decoder = try SPDYDecoder()
    decoder.append(bytes)
    while true {
      while let frame = try decoder.next() { try await take(frame) }
      guard let more = try await next() else { return }
      decoder.append(more)
    }
  }

  private func take(_ frame: SPDYFrame) async throws {
    switch frame {
    case .data(let id, let bytes, let isLast):
      let stream = stream(id)
      await stream?.inbox.put(bytes)
      if isLast { stream?.inbox.finish() }
    case .synReply(let id, _, let isLast), .headers(let id, let isLast):
      if isLast { stream(id)?.inbox.finish() }
    case .reset(let id, _):
      state.withLock { $0.streams.removeValue(forKey: id) }?.abandon()
    case .ping(let id):
      if id % 2 == 0 { try await channel.writeAndFlush(SPDYEncoder.ping(id)).get() }
    case .goAway, .synStream, .ignored: break
    }
  }

  private func stream(_ id: UInt32) -> SPDYStream? { state.withLock { $0.streams[id] } }

  /// Its user is done with it: what still comes on it goes nowhere.
  func forget(_ id: UInt32) { state.withLock { $0.streams.removeValue(forKey: id) }?.inbox.close() }

  private func end() {
    let streams = state.withLock { state in
      state.isOver = true
      defer { state.streams = [:] }
      return Array(state.streams.values)
    }
    for stream in streams { stream.abandon() }
  }
}
