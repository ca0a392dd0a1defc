import NIOCore
import NIOHTTP1
import SPDY

/// The one request of a connection: refuses it and closes, or answers 101, takes HTTP out of the pipeline and lets the
/// session begin, with what came behind the request as its first bytes.
final class UpgradeHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = ByteBuffer
  typealias OutboundOut = HTTPServerResponsePart

  private enum Phase {
    case waiting
    case head(HTTPRequestHead)
    case refused
    /// What comes is kept for the session.
    case upgrading(Upgrade, [ByteBuffer])
  }

  private var phase = Phase.waiting
  private let gate: Gate
  private let crowd: Crowd
  /// Called on the event loop; adds what the session needs to the pipeline.
  private let begin: (Upgrade, any Channel) throws -> Void

  init(gate: Gate, crowd: Crowd, begin: @escaping (Upgrade, any Channel) throws -> Void) {
    self.gate = gate
    self.crowd = crowd
    self.begin = begin
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch phase {
    case .upgrading(let upgrade, var kept):
      // The decoder and `Gate` may differ on what asks for an upgrade: then it reads on, and finds another request.
      guard let bytes = context.channel._channelCore.tryUnwrapData(data, as: ByteBuffer.self) else {
        phase = .refused
        return context.close(promise: nil)
      }
      kept.append(bytes)
      phase = .upgrading(upgrade, kept)
    case .refused:
      break
    case .waiting:
      if case .head(let head) = unwrapInboundIn(data) { phase = .head(head) }
    case .head(let head):
      switch unwrapInboundIn(data) {
      case .head: context.close(promise: nil)
      case .body:
        phase = .refused
        refuse(context, .badRequest, [:], "the request has a body")
      case .end: answer(context, gate.admit(head))
      }
    }
  }

  private func answer(_ context: ChannelHandlerContext, _ admission: Admission) {
    switch admission {
    case .refused(let status, let headers, let text):
      phase = .refused
      refuse(context, status, headers, text)
    case .accepted(let headers, let upgrade):
      guard crowd.welcome(context.channel) else {
        phase = .refused
        return refuse(context, .serviceUnavailable, [:], "too many streaming connections are open")
      }
      phase = .upgrading(upgrade, [])
      let head = HTTPResponseHead(version: .http1_1, status: .switchingProtocols, headers: headers)
      context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
      leaveHTTP(context)
    }
  }

  private func refuse(
    _ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ text: String
  ) {
    let body = ByteBuffer(string: text + "\n")
    var headers = headers
    headers.add(name: "Connection", value: "close")
    headers.add(name: "Content-Type", value: "text/plain; charset=utf-8")
    headers.add(name: "X-Content-Type-Options", value: "nosniff")
    headers.add(name: "Content-Length", value: String(body.readableBytes))
    let head = HTTPResponseHead(version: .http1_1, status: status, headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
    context.writeAndFlush(wrapOutboundOut(.end(nil))).assumeIsolated().whenComplete { _ in context.close(promise: nil) }
  }

  /// The decoder goes last, and only after this call: it hands on what it has kept.
  private func leaveHTTP(_ context: ChannelHandlerContext) {
    let pipeline = context.pipeline.syncOperations
    do {
      let gone = [
        pipeline.removeHandler(context: try pipeline.context(handlerType: HeadLimit.self)),
        pipeline.removeHandler(context: try pipeline.context(handlerType: HTTPResponseEncoder.self)),
        pipeline.removeHandler(
          context: try pipeline.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self)),
      ]
      EventLoopFuture.andAllSucceed(gone, on: context.eventLoop).assumeIsolated().whenComplete { result in
        self.beginSession(context, result)
      }
    } catch {
      context.close(promise: nil)
    }
  }

  private func beginSession(_ context: ChannelHandlerContext, _ result: Result<Void, any Error>) {
    guard case .upgrading(let upgrade, _) = phase, context.channel.isActive else {
      return context.close(promise: nil)
    }
    do {
      try result.get()
      try begin(upgrade, context.channel)
      context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    } catch {
      context.close(promise: nil)
    }
  }

  func removeHandler(context: ChannelHandlerContext, removalToken: ChannelHandlerContext.RemovalToken) {
    if case .upgrading(_, let kept) = phase {
      for bytes in kept { context.fireChannelRead(wrapInboundOut(bytes)) }
      if !kept.isEmpty { context.fireChannelReadComplete() }
    }
    context.leavePipeline(removalToken: removalToken)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
