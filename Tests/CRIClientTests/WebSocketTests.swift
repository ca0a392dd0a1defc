import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket
import Testing

@testable import CRIClient

@Suite struct WebSocketTests {
  /// A server on a quick machine has written them before a client on a slow one reads its answer.
  @Test func messagesInOneSegmentWithTheAnswer() async throws {
    let upgrader = NIOWebSocketServerUpgrader(
      shouldUpgrade: { channel, _ in
        channel.eventLoop.makeSucceededFuture(["Sec-WebSocket-Protocol": RemoteChannel.closing])
      },
      upgradePipelineHandler: { channel, _ in channel.eventLoop.makeSucceededVoidFuture() })
    let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(OneSegment([0x82, 1, 1, 0x82, 3, 1, 0x75, 0x70]))
          try channel.pipeline.syncOperations.configureHTTPServerPipeline(
            withServerUpgrade: (upgraders: [upgrader], completionHandler: { _ in }))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let url = try SessionURL("http://127.0.0.1:\(server.localAddress?.port ?? 0)/exec/x")
    let connection = try await WebSocketConnection.open(url, protocols: RemoteChannel.protocols)
    #expect(connection.chosen == RemoteChannel.closing)
    try await connection.stream.executeThenClose { inbound, _ in
      let silence = Task {
        try await Task.sleep(for: .seconds(60))
        try await connection.stream.channel.close()
      }
      var frames = inbound.makeAsyncIterator()
      let (first, second) = (try await frames.next(), try await frames.next())
      #expect(first?.unmaskedData == ByteBuffer(bytes: [1]))
      #expect(second?.unmaskedData == ByteBuffer(bytes: [1, 0x75, 0x70]))
      silence.cancel()
    }
    try await server.close()
  }
}

/// Lets the answer's head out only with what follows it.
private final class OneSegment: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private var held = ByteBuffer()
  private var rest: [UInt8]?

  init(_ rest: [UInt8]) { self.rest = rest }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard let rest else { return context.write(data, promise: promise) }
    var bytes = unwrapOutboundIn(data)
    held.writeBuffer(&bytes)
    guard held.readableBytesView.suffix(4).elementsEqual("\r\n\r\n".utf8) else {
      promise?.succeed()
      return
    }
    held.writeBytes(rest)
    self.rest = nil
    context.writeAndFlush(wrapOutboundOut(held), promise: promise)
  }
}
