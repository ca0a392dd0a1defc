import NIOCore
import SPDY
import Synchronization

/// The server's side of one SPDY/3.1 connection: takes frames, keeps the streams, answers what the protocol itself asks.
///
/// Nothing is sent without waiting for the client to read, and nothing is read while a stream's inbox is full: SPDY's own
/// flow control is unknown to the peers' library. One stream that nobody takes from is in the way of all the others then;
/// what becomes of it is for the connection's user to say.
final class SPDYConnection: Sendable {
  private struct Entry {
    var stream: SPDYStream
    var isHereDone = false
    var isThereDone = false
  }

  /// Streams that are open at the same time; a forwarded connection has two.
  static let streamLimit = 512
  /// Frames without data in a second; beyond that the client waits (CVE-2023-44487's kind).
  static let controlRate = 2000

  /// Gets a stream that has been in the way for so long, and says whether it changed that.
  typealias Unblock = (stream: @Sendable (SPDYStream) async throws -> Bool, after: Duration)

  private let write: FrameWriter
  private let streams = Mutex<[UInt32: Entry]>([:])

  init(write: @escaping FrameWriter) { self.write = write }

  /// Serves until the client closes or leaves.
  /// - Parameters:
  ///   - accept: says whether a stream is wanted, before anything comes on it.
  ///   - isCut: whether a stream that the client has not ended before its connection does is a reset, or at its end.
  ///   - unblock: nil where a stream may be in the way for as long as it likes.
  /// - Throws: ``SPDYError``; what the connection fails with.
  func run(
    isCut: Bool = false, next: () async throws -> ByteBuffer?, unblock: Unblock? = nil,
    accept: (SPDYStream, SPDYHeaders) async throws -> Bool
  ) async throws {
    defer {
      for entry in streams.withLock({ Array($0.values) }) where !entry.isThereDone {
        if isCut { entry.stream.abandon() } else { entry.stream.inbox.finish() }
      }
    }
    var decoder = try SPDYDecoder()
    let encoder = try SPDYEncoder()
    var newest: UInt32 = 0
    var isLeaving = false
    var pace = Pace(limit: Self.controlRate)
    while let bytes = try await next() {
      decoder.append(bytes)
      while let frame = try decoder.next() {
        switch frame {
        case .data(let id, let bytes, let isLast):
          if bytes.readableBytes == 0 { try await pace.step() }
          if let stream = stream(id) { try await put(bytes, stream, unblock) }
          if isLast { finishThere(id) }
          continue
        case .synStream(let id, let headers, let isLast):
          guard id % 2 == 1, id > newest else { throw SPDYError("stream \(id) after \(newest)") }
          newest = id
          try await open(id, headers, isLast, isLeaving, encoder, accept)
        case .reset(let id, _):
          streams.withLock { $0.removeValue(forKey: id) }?.stream.abandon()
        case .headers(let id, let isLast), .synReply(let id, _, let isLast):
          if isLast { finishThere(id) }
        case .ping(let id):
          if id % 2 == 1 { try await write(SPDYEncoder.ping(id)) }
        case .goAway:
          isLeaving = true
        case .ignored:
          break
        }
        try await pace.step()
      }
    }
  }

  private func put(_ bytes: ByteBuffer, _ stream: SPDYStream, _ unblock: Unblock?) async throws {
    guard let unblock else { return await stream.inbox.put(bytes) }
    if await stream.inbox.put(bytes, within: unblock.after) { return }
    while try await !unblock.stream(stream) {
      if await stream.inbox.room(within: unblock.after) { return }
    }
  }

  private func open(
    _ id: UInt32, _ headers: SPDYHeaders, _ isLast: Bool, _ isLeaving: Bool, _ encoder: SPDYEncoder,
    _ accept: (SPDYStream, SPDYHeaders) async throws -> Bool
  ) async throws {
    let stream = SPDYStream(id: id, write: write) { [weak self] in self?.finishHere($0, whole: $1) }
    let isRefused = streams.withLock { streams in
      guard !isLeaving, streams.count < Self.streamLimit else { return true }
      streams[id] = Entry(stream: stream)
      return false
    }
    guard !isRefused else { return try await write(SPDYEncoder.reset(id, SPDYFrame.ResetStatus.refusedStream)) }
    // First of all: the peers' library forgets data of a stream without it.
    try await write(try encoder.synReply(id))
    if isLast { finishThere(id) }
    if try await !accept(stream, headers) {
      try await stream.reset(SPDYFrame.ResetStatus.protocolError)
    }
  }

  private func stream(_ id: UInt32) -> SPDYStream? {
    streams.withLock { streams in
      guard let entry = streams[id], !entry.isThereDone else { return nil }
      return entry.stream
    }
  }

  private func finishThere(_ id: UInt32) {
    let stream = streams.withLock { streams -> SPDYStream? in
      guard let entry = streams[id] else { return nil }
      streams[id]?.isThereDone = true
      if entry.isHereDone { streams[id] = nil }
      return entry.stream
    }
    stream?.inbox.finish()
  }

  private func finishHere(_ id: UInt32, whole: Bool) {
    streams.withLock { streams in
      guard let entry = streams[id] else { return }
      streams[id]?.isHereDone = true
      if entry.isThereDone || whole { streams[id] = nil }
    }
  }
}

/// Makes a client that asks too often wait.
private struct Pace {
  let limit: Int
  private var began = ContinuousClock.now
  private var count = 0

  init(limit: Int) { self.limit = limit }

  mutating func step() async throws {
    count += 1
    guard count >= limit else { return }
    let end = began + .seconds(1)
    if end > .now { try await Task.sleep(until: end, clock: .continuous) }
    (began, count) = (.now, 0)
  }
}
