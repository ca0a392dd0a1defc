import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

@testable import ImageStore

/// A registry in this process that misbehaves as it is told (ATTACKS.md H8).
final class StubRegistry: Sendable {
  struct Request: Sendable {
    var method: String
    var uri: String
    var headers: [String: String]
    var body: String
  }

  struct Answer: Sendable {
    var status = 200
    var headers: [(String, String)] = []
    var body: [UInt8] = []
    /// The connection ends after so many bytes of the body.
    var cut: Int?
    /// Nothing is ever answered.
    var isSilent = false
  }

  typealias Script = @Sendable (Request) -> Answer?

  private struct State {
    var blobs: [String: [UInt8]] = [:]
    var manifests: [String: (type: String, bytes: [UInt8])] = [:]
    var requests: [Request] = []
    var script: Script?
  }

  private let state = Mutex(State())
  private let channel: any Channel

  /// `127.0.0.1:port`.
  let host: String

  init() async throws {
    let serve = Serve()
    channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(Connection(serve))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    host = "127.0.0.1:\(channel.localAddress?.port ?? 0)"
    serve.registry.withLock { $0 = self }
  }

  func stop() async throws { try await channel.close() }

  /// Asked first; nil leaves the answer to the content.
  func answer(_ script: @escaping Script) { state.withLock { $0.script = script } }

  var requests: [Request] { state.withLock { $0.requests } }

  func count(_ part: String) -> Int { requests.filter { $0.uri.contains(part) }.count }

  @discardableResult
  func add(blob: [UInt8]) -> String {
    let digest = ContentDigest(of: blob).text
    state.withLock { $0.blobs[digest] = blob }
    return digest
  }

  /// - Returns: its digest; it answers to that too.
  @discardableResult
  func add(manifest text: String, type: String, tags: String...) -> String {
    let bytes = Array(text.utf8)
    let digest = ContentDigest(of: bytes).text
    state.withLock { state in
      for name in tags + [digest] { state.manifests[name] = (type, bytes) }
    }
    return digest
  }

  static let manifestType = "application/vnd.oci.image.manifest.v1+json"
  static let indexType = "application/vnd.oci.image.index.v1+json"

  struct Added {
    var manifest: String
    var size: Int
    var id: String
    var layers: [String]
  }

  /// An image of these layers, by its tags.
  @discardableResult
  func add(layers: [[UInt8]], diffIDs: [String]? = nil, config: String = "{}", tags: String...) -> Added {
    let digests = layers.map { add(blob: $0) }
    let diffs = (diffIDs ?? digests).map { "\"\($0)\"" }.joined(separator: ",")
    let body =
      #"{"architecture":"amd64","os":"linux","config":\#(config),"rootfs":{"type":"layers","diff_ids":[\#(diffs)]}}"#
    let id = add(blob: Array(body.utf8))
    let list = zip(digests, layers).map { #"{"digest":"\#($0)","size":\#($1.count)}"# }.joined(separator: ",")
    let text =
      #"{"schemaVersion":2,"config":{"digest":"\#(id)","size":\#(body.utf8.count)},"layers":[\#(list)]}"#
    let digest = add(manifest: text, type: Self.manifestType)
    state.withLock { state in
      for tag in tags { state.manifests[tag] = (Self.manifestType, Array(text.utf8)) }
    }
    return Added(manifest: digest, size: text.utf8.count, id: id, layers: digests)
  }

  fileprivate func serve(_ request: Request) -> Answer {
    let script = state.withLock { state in
      state.requests.append(request)
      return state.script
    }
    if let answer = script?(request) { return answer }
    let name = String(request.uri.split(separator: "/").last ?? "")
    return state.withLock { state in
      if request.uri.contains("/blobs/"), let blob = state.blobs[name] {
        guard let range = request.headers["range"], let start = Int(range.dropFirst(6).dropLast()), start <= blob.count
        else { return Answer(body: blob) }
        return Answer(
          status: 206, headers: [("Content-Range", "bytes \(start)-\(blob.count - 1)/\(blob.count)")],
          body: Array(blob[start...]))
      }
      if request.uri.contains("/manifests/"), let manifest = state.manifests[name] {
        return Answer(headers: [("Content-Type", manifest.type)], body: manifest.bytes)
      }
      return Answer(status: 404)
    }
  }
}

/// Handed to connections before the registry itself is whole.
private final class Serve: Sendable {
  let registry = Mutex<StubRegistry?>(nil)
}

private final class Connection: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let serve: Serve
  private var head: HTTPRequestHead?
  private var body = ""

  init(_ serve: Serve) { self.serve = serve }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      self.head = head
      body = ""
    case .body(let part): body += String(buffer: part)
    case .end: if let head { answer(head, context) }
    }
  }

  private func answer(_ head: HTTPRequestHead, _ context: ChannelHandlerContext) {
    guard let registry = serve.registry.withLock({ $0 }) else { return context.close(promise: nil) }
    var headers: [String: String] = [:]
    for (name, value) in head.headers { headers[name.lowercased()] = value }
    let answer = registry.serve(.init(method: head.method.rawValue, uri: head.uri, headers: headers, body: body))
    if answer.isSilent { return }
    var response = HTTPResponseHead(version: .http1_1, status: .init(statusCode: answer.status))
    response.headers = HTTPHeaders(answer.headers)
    response.headers.add(name: "Content-Length", value: "\(answer.body.count)")
    context.write(wrapOutboundOut(.head(response)), promise: nil)
    let part = ByteBuffer(bytes: answer.body.prefix(answer.cut ?? answer.body.count))
    if answer.cut != nil {
      let closed = context.eventLoop.makePromise(of: Void.self)
      let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
      closed.futureResult.whenComplete { _ in bound.value.close(promise: nil) }
      return context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(part))), promise: closed)
    }
    context.write(wrapOutboundOut(.body(.byteBuffer(part))), promise: nil)
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
  }
}
