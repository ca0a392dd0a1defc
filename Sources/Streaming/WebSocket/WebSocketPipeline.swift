import NIOCore
import NIOWebSocket
import SPDY

/// A connection that speaks WebSocket from here on. Must be executed, which closes it.
typealias WebSocketChannel = NIOAsyncChannel<WebSocketFrame, Never>

enum WebSocketPipeline {
  /// Bytes of a message; the peers' clients send 32 KiB and some.
  static let messageLimit = 1 << 20
  /// Fragments of a message.
  private static let fragmentLimit = 64

  /// On the channel's event loop.
  static func add(to channel: any Channel) throws -> WebSocketChannel {
    let pipeline = channel.pipeline.syncOperations
    try pipeline.addHandler(WebSocketFrameEncoder())
    try pipeline.addHandler(ByteToMessageHandler(WebSocketFrameDecoder(maxFrameSize: messageLimit)))
    try pipeline.addHandler(MaskCheck())
    try pipeline.addHandler(
      NIOWebSocketFrameAggregator(
        minNonFinalFragmentSize: 1, maxAccumulatedFrameCount: fragmentLimit, maxAccumulatedFrameSize: messageLimit))
    try pipeline.addHandler(WebSocketProtocolErrorHandler())
    return try WebSocketChannel(
      wrappingChannelSynchronously: channel, configuration: .init(backPressureStrategy: Descriptors.pressure))
  }
}

/// The client does not keep to the protocol.
struct WebSocketViolation: Error, CustomStringConvertible {
  var description: String
}

/// Ends a connection with a frame that is not masked, as RFC 6455 5.1 has it: a proxy may have been led to make it.
private final class MaskCheck: ChannelInboundHandler {
  typealias InboundIn = WebSocketFrame
  typealias InboundOut = WebSocketFrame

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if unwrapInboundIn(data).maskKey == nil {
      context.fireErrorCaught(WebSocketViolation(description: "a frame is not masked"))
    } else {
      context.fireChannelRead(data)
    }
  }
}

/// A client's messages; answers pings and the closing of the connection by itself.
struct WebSocketMessages {
  private var frames: NIOAsyncChannelInboundStream<WebSocketFrame>.AsyncIterator
  private let writer: WebSocketWriter

  init(_ frames: NIOAsyncChannelInboundStream<WebSocketFrame>, _ writer: WebSocketWriter) {
    self.frames = frames.makeAsyncIterator()
    self.writer = writer
  }

  /// - Returns: nil when the client has closed.
  /// - Throws: what the connection fails with, ``WebSocketViolation`` for one.
  mutating func next() async throws -> (opcode: WebSocketOpcode, bytes: ByteBuffer)? {
    while let frame = try await frames.next() {
      writer.outlet.idle.touch()
      switch frame.opcode {
      case .binary, .text: return (frame.opcode, frame.unmaskedData)
      case .ping: try await writer.send(.pong, frame.unmaskedData)
      case .connectionClose:
        try? await writer.close(.normalClosure)
        return nil
      default: break
      }
    }
    return nil
  }
}

/// Sends frames, waiting while the client does not read.
struct WebSocketWriter: Sendable {
  let outlet: Outlet

  func send(_ opcode: WebSocketOpcode, _ bytes: ByteBuffer) async throws {
    try await outlet.send(WebSocketFrame(fin: true, opcode: opcode, data: bytes))
  }

  /// Tells the client when it is its fault that `body` has failed.
  func blaming(_ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch let error as WebSocketViolation {
      try? await close(.protocolError)
      throw error
    }
  }

  func close(_ code: WebSocketErrorCode) async throws {
    var bytes = ByteBuffer()
    bytes.write(webSocketErrorCode: code)
    try await send(.connectionClose, bytes)
  }
}
