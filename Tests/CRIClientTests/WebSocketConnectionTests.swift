import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import Testing

@testable import CRIClient

@Suite struct WebSocketConnectionTests {
  /// A busy server's first messages come in one segment with "101 Switching Protocols".
  @Test func whatComesTogetherWithTheUpgradeIsRead() async throws {
    let group = MultiThreadedEventLoopGroup.singleton
    let server = try await ServerBootstrap(group: group).childChannelInitializer { channel in
      channel.eventLoop.makeCompletedFuture { try Self.greet(channel, "hello") }
    }.bind(host: "127.0.0.1", port: 0).get()
    let port = try #require(server.localAddress?.port)
    let connection = try await WebSocketConnection.open(
      SessionURL("http://127.0.0.1:\(port)/exec/x"), protocols: RemoteChannel.protocols)
    let first = try await connection.stream.executeThenClose { inbound, _ in
      var frames = inbound.makeAsyncIterator()
      return try await frames.next()
    }
    #expect(first.map { String(buffer: $0.unmaskedData) } == "hello")
    try await server.close()
  }

  /// Upgrades, says its word, and ends: all of it in one write.
  private static func greet(_ channel: any Channel, _ word: String) throws {
    let upgrader = NIOWebSocketServerUpgrader { channel, _ in
      channel.eventLoop.makeSucceededFuture(["Sec-WebSocket-Protocol": RemoteChannel.closing])
    } upgradePipelineHandler: { channel, _ in
      channel.write(WebSocketFrame(fin: true, opcode: .binary, data: ByteBuffer(string: word)), promise: nil)
      channel.write(WebSocketFrame(fin: true, opcode: .connectionClose, data: ByteBuffer()), promise: nil)
      return channel.triggerUserOutboundEvent(Cork.Pull())
    }
    try channel.pipeline.syncOperations.addHandler(Cork())
    try channel.pipeline.syncOperations.configureHTTPServerPipeline(
      withServerUpgrade: (upgraders: [upgrader], completionHandler: { _ in }))
  }
}

/// Keeps back what is written until it is pulled.
private final class Cork: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  struct Pull: Sendable {}

  private var kept = ByteBuffer()

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    var bytes = unwrapOutboundIn(data)
    kept.writeBuffer(&bytes)
    promise?.succeed()
  }

  func flush(context: ChannelHandlerContext) {}

  func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
    guard event is Pull else { return context.triggerUserOutboundEvent(event, promise: promise) }
    context.writeAndFlush(wrapOutboundOut(kept), promise: promise)
  }
}
