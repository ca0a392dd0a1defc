import NIOCore
import NIOPosix

/// A connection to a runtime's streaming server that has left HTTP for SPDY/3.1.
struct UpgradedConnection: Sendable {
  typealias Stream = NIOAsyncChannel<ByteBuffer, Never>

  let stream: Stream
  /// The request's first line and headers, and the answer's, are never longer.
  private static let headLimit = 16 << 10
  private static let patience = TimeAmount.seconds(30)
  private static let failed = "cannot connect to the runtime's streaming server"

  /// - Throws: ``ClientError`` when there is no connection.
  static func open(_ url: SessionURL) async throws -> UpgradedConnection {
    do {
      let stream = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .connectTimeout(patience)
        .channelOption(.maxMessagesPerRead, value: 1)
        .connect(host: url.host, port: url.port) { channel in
          channel.eventLoop.makeCompletedFuture { try Stream(wrappingChannelSynchronously: channel) }
        }
      return UpgradedConnection(stream: stream)
    } catch {
      throw ClientError(.unreachable, failed, why: "\(url.authority): \(error)")
    }
  }

  /// Asks for the upgrade, and reads the answer.
  ///
  /// - Returns: bytes that came behind the answer's head and belong to SPDY already.
  /// - Throws: ``ClientError`` when the server refuses.
  func upgrade(
    _ url: SessionURL, protocol name: String, next: () async throws -> ByteBuffer?
  ) async throws -> ByteBuffer {
    let request = [
      "POST \(url.target) HTTP/1.1", "Host: \(url.authority)", "Connection: Upgrade", "Upgrade: SPDY/3.1",
      "X-Stream-Protocol-Version: \(name)", "Content-Length: 0", "", "",
    ].joined(separator: "\r\n")
    try await stream.channel.writeAndFlush(ByteBuffer(string: request)).get()
    var bytes = ByteBuffer()
    while true {
      if let head = Self.head(&bytes) {
        let status = head.prefix { $0 != "\r" }
        guard status.split(separator: " ").dropFirst().first == "101" else {
          throw ClientError(.failed, Self.failed, why: "\(url.authority) answers \"\(status)\"")
        }
        return bytes
      }
      guard bytes.readableBytes < Self.headLimit, var piece = try await next() else {
        throw ClientError(.failed, Self.failed, why: "\(url.authority) does not answer in HTTP")
      }
      bytes.writeBuffer(&piece)
    }
  }

  /// Takes an answer's head off the front, once all of it is there.
  private static func head(_ bytes: inout ByteBuffer) -> String? {
    let end: [UInt8] = [0x0d, 0x0a, 0x0d, 0x0a]
    let view = bytes.readableBytesView
    guard let start = view.indices.first(where: { view[$0...].starts(with: end) }) else { return nil }
    return bytes.readString(length: start - view.startIndex + end.count)
  }
}
