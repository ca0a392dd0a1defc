import Foundation
import NIOCore
import NIOWebSocket
import RuntimeModel
import Synchronization

/// One command or container whose standard streams are this process's, over the runtime's streaming server.
struct RemoteSession: Sendable {
  enum End: Sendable, Equatable {
    case exit(Int32)
    /// The person left; the process runs on.
    case detached
  }

  private enum Event: Sendable {
    case end(End)
    case inputEnded
  }

  /// What is done, for messages: `run ls in default/web/app`.
  let what: String
  let usesInput: Bool
  let isTerminal: Bool
  private let output = Output()

  init(what: String, usesInput: Bool, isTerminal: Bool) {
    self.what = what
    self.usesInput = usesInput
    self.isTerminal = isTerminal
  }

  /// Whether anything came of the process's output.
  var hasShownOutput: Bool { output.hasCome.load(ordering: .relaxed) }

  private final class Output: Sendable {
    let hasCome = Atomic(false)

    func show(_ bytes: [UInt8], on descriptor: Int32) {
      hasCome.store(true, ordering: .relaxed)
      Terminal.write(bytes, to: descriptor)
    }
  }

  /// - Returns: when the process has ended, or the person has detached.
  /// - Throws: ``ClientError`` when the session cannot be had, or breaks.
  func run(at url: SessionURL) async throws -> End {
    let connection = try await WebSocketConnection.open(url, protocols: RemoteChannel.protocols)
    let raw = isTerminal && usesInput ? RawTerminal() : nil
    defer { raw?.restore() }
    return try await connection.stream.executeThenClose { inbound, outbound in
      try await withThrowingTaskGroup(of: Event.self) { group in
        group.addTask { .end(try await receive(inbound, outbound)) }
        if usesInput {
          group.addTask { try await send(outbound, canClose: connection.chosen == RemoteChannel.closing) }
        }
        if isTerminal { group.addTask { try await resize(outbound) } }
        defer { group.cancelAll() }
        while let event = try await group.next() {
          if case .end(let end) = event { return end }
        }
        throw CancellationError()
      }
    }
  }

  // MARK: - from the runtime

  private func receive(
    _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>, _ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>
  ) async throws -> End {
    for try await frame in inbound {
      switch frame.opcode {
      case .binary:
        if let end = try take(frame.unmaskedData) { return end }
      case .ping:
        try await outbound.write(WebSocketConnection.masked(.pong, frame.unmaskedData))
      case .connectionClose:
        throw broken("the runtime closed the session without a status")
      default: break
      }
    }
    try Task.checkCancellation()
    throw broken("the connection broke")
  }

  private func take(_ message: ByteBuffer) throws -> End? {
    var message = message
    // The server's first message may be empty: it says that the session is open.
    guard let number: UInt8 = message.readInteger(), message.readableBytes > 0 else { return nil }
    let bytes = Array(message.readableBytesView)
    switch RemoteChannel(rawValue: number) {
    case .output: output.show(bytes, on: 1)
    case .errors: output.show(bytes, on: 2)
    case .status:
      guard let status = try? JSONDecoder().decode(RemoteStatus.self, from: Data(bytes)) else {
        throw broken("the runtime's status is not understood: \(String(decoding: bytes.prefix(200), as: UTF8.self))")
      }
      return .exit(try status.exitCode(of: what))
    default: break
    }
    return nil
  }

  private func broken(_ why: String) -> ClientError { ClientError(.failed, "cannot \(what)", why: why) }

  // MARK: - to the runtime

  private func send(
    _ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>, canClose: Bool
  ) async throws -> Event {
    let reader = InputReader()
    var keys = DetachKeys()
    for await piece in reader.pieces {
      let (rest, detaches) = isTerminal ? keys.pass(piece) : (piece, false)
      if !rest.isEmpty { try await outbound.write(WebSocketConnection.message(.input, rest)) }
      if detaches { return .end(.detached) }
      reader.taken()
    }
    if canClose, !Task.isCancelled {
      try await outbound.write(WebSocketConnection.message(.close, [RemoteChannel.input.rawValue]))
    }
    return .inputEnded
  }

  private func resize(_ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>) async throws -> Event {
    let (sizes, changes) = AsyncStream.makeStream(of: TerminalSize.self, bufferingPolicy: .bufferingNewest(1))
    let watch = RawTerminal.watchSize { changes.yield($0) }
    defer { watch.cancel() }
    for await size in sizes {
      try await outbound.write(WebSocketConnection.message(.resize, try JSONEncoder().encode(size)))
    }
    return .inputEnded
  }
}
