import NIOCore
import NIOHTTP1
import NIOPosix
import NIOWebSocket

/// A WebSocket connection to a runtime's streaming server, upgraded and with a sub-protocol agreed on.
struct WebSocketConnection: Sendable {
  typealias Stream = NIOAsyncChannel<WebSocketFrame, WebSocketFrame>

  /// Bytes of one message that we take.
  static let longestMessageBytes = 16 << 20
  private static let patience = TimeAmount.seconds(30)

  let stream: Stream
  /// The sub-protocol that the server chose.
  let chosen: String

  private enum Upgrade: Sendable {
    case done(Stream, String)
    case refused
  }

  /// - Parameter protocols: sub-protocols, the one that we like best first.
  /// - Throws: ``ClientError`` when there is no connection, or no upgrade.
  static func open(_ url: SessionURL, protocols: [String]) async throws -> WebSocketConnection {
    let failed = "cannot connect to the runtime's streaming server"
    let upgrade: Upgrade
    do {
      upgrade = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connectTimeout(patience)
        .connect(host: url.host, port: url.port) { channel in
          channel.eventLoop.makeCompletedFuture { try upgrading(channel, url, protocols) }
        }.get()
    } catch {
      throw ClientError(.unreachable, failed, why: "\(url.authority): \(error)")
    }
    guard case .done(let stream, let chosen) = upgrade else {
      throw ClientError(.failed, failed, why: "\(url.authority) does not upgrade to WebSocket: the session has expired")
    }
    guard protocols.contains(chosen) else {
      try? await stream.executeThenClose { _, _ in }
      throw ClientError(.failed, failed, why: "it chose the protocol \"\(chosen)\", which was not offered")
    }
    return WebSocketConnection(stream: stream, chosen: chosen)
  }

  private static func upgrading(
    _ channel: any Channel, _ url: SessionURL, _ protocols: [String]
  ) throws -> EventLoopFuture<Upgrade> {
    let upgrader = NIOTypedWebSocketClientUpgrader<Upgrade>(maxFrameSize: longestMessageBytes) { channel, response in
      channel.eventLoop.makeCompletedFuture {
        try channel.pipeline.syncOperations.addHandler(
          NIOWebSocketFrameAggregator(
            minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 1024,
            maxAccumulatedFrameSize: longestMessageBytes))
        let stream = try Stream(wrappingChannelSynchronously: channel)
        return .done(stream, response.headers.first(name: "Sec-WebSocket-Protocol") ?? "")
      }
    }
    let headers = HTTPHeaders([
      ("Host", url.authority), ("Content-Length", "0"),
      ("Sec-WebSocket-Protocol", protocols.joined(separator: ", ")),
    ])
    let configuration = NIOTypedHTTPClientUpgradeConfiguration(
      upgradeRequestHead: HTTPRequestHead(version: .http1_1, method: .GET, uri: url.target, headers: headers),
      upgraders: [upgrader]
    ) { channel in
      channel.close().map { .refused }
    }
    var pipeline = NIOUpgradableHTTPClientPipelineConfiguration(upgradeConfiguration: configuration)
    // The server's first messages may come in one segment with its answer: NIO would drop them.
    pipeline.leftOverBytesStrategy = .forwardBytes
    return try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(configuration: pipeline)
  }

  /// A binary message as a client must send it, masked (RFC 6455, 5.3).
  static func message(_ channel: RemoteChannel, _ bytes: some Sequence<UInt8>) -> WebSocketFrame {
    var data = ByteBuffer(integer: channel.rawValue)
    data.writeBytes(bytes)
    return masked(.binary, data)
  }

  static func masked(_ opcode: WebSocketOpcode, _ data: ByteBuffer) -> WebSocketFrame {
    WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: data)
  }
}
