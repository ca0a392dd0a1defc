import NIOCore
import NIOHTTP1
import SPDY

/// The one request of a connection: refuses it and closes, or answers 101, takes HTTP out of the pipeline and lets the
/// conversation begin, with what came behind the request as its first bytes.
final class UpgradeHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias InboundOut = ByteBuffer
  typealias OutboundOut = HTTPServerResponsePart

  private enum Phase {
    case waiting
    case head(HTTPRequestHead)
    case refused
    /// What comes is kept for the conversation.
    case upgrading(Conversation, [ByteBuffer])
  }

  private var phase = Phase.waiting
  private let gate: Gate
  private let crowd: Crowd
  /// Called on the event loop; adds what the conversation needs to the pipeline.
  private let begin: (Conversation, any Channel) throws -> Void

  init(gate: Gate, crowd: Crowd, begin: @escaping (Conversation, any Channel) throws -> Void) {
    self.gate = gate
    self.crowd = crowd
    self.begin = begin
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch phase {
    case .upgrading(let conversation, var kept):
      // The decoder and `Gate` may differ on what asks for an upgrade: then it reads on, and finds another request.
      guard let bytes = context.channel._channelCore.tryUnwrapData(data, as: ByteBuffer.self) else {
        phase = .refused
        return context.close(promise: nil)
      }
      kept.append(bytes)
      phase = .upgrading(conversation, kept)
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
    case .accepted(let headers, let conversation):
      guard crowd.welcome(context.channel) else {
        phase = .refused
        return refuse(context, .serviceUnavailable, [:], "too many streaming connections are open")
      }
      phase = .upgrading(conversation, [])
      let head = HTTPResponseHead(version: .http1_1, status: .switchingProtocols, headers: headers)
      context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
      upgrade(context)
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
  private func upgrade(_ context: ChannelHandlerContext) {
    let pipeline = context.pipeline.syncOperations
    do {
      let gone = [
        pipeline.removeHandler(context: try pipeline.context(handlerType: HeadLimit.self)),
        pipeline.removeHandler(context: try pipeline.context(handlerType: HTTPResponseEncoder.self)),
        pipeline.removeHandler(
          context: try pipeline.context(handlerType: ByteToMessageHandler<HTTPRequestDecoder>.self)),
      ]
      EventLoopFuture.andAllSucceed(gone, on: context.eventLoop).assumeIsolated().whenComplete { result in
        self.converse(context, result)
      }
    } catch {
      context.close(promise: nil)
    }
  }

  private func converse(_ context: ChannelHandlerContext, _ result: Result<Void, any Error>) {
    guard case .upgrading(let conversation, _) = phase, context.channel.isActive else {
      return context.close(promise: nil)
    }
    do {
      try result.get()
      try begin(conversation, context.channel)
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
