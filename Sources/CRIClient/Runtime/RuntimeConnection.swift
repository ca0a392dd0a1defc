import CRIProtocol
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import Glibc

/// A connection to a CRI v1 runtime.
struct RuntimeConnection: Sendable {
  typealias Transport = HTTP2ClientTransport.Posix

  static let longestMessageBytes = 32 << 20

  let socket: SocketChoice
  let runtime: Runtime_V1_RuntimeService.Client<Transport>
  let images: Runtime_V1_ImageService.Client<Transport>
  let swiftlet: Swiftlet_V1_Swiftlet.Client<Transport>

  /// Connects, runs `body` and closes the connection.
  ///
  /// - Throws: what `body` throws; ``ClientError`` with the status `unreachable` when nobody answers.
  static func with<Result: Sendable>(
    _ socket: SocketChoice, _ body: @Sendable (RuntimeConnection) async throws -> Result
  ) async throws -> Result {
    try socket.probe()
    let transport = try Transport.http2NIOPosix(
      target: .unixDomainSocket(path: socket.path, authority: "localhost"), transportSecurity: .plaintext)
    let client = GRPCClient(transport: transport)
    // Not a child of this task: when that is cancelled, clearing up still needs the connection.
    let connections = Task { try await client.runConnections() }
    let connection = RuntimeConnection(
      socket: socket, runtime: .init(wrapping: client), images: .init(wrapping: client),
      swiftlet: .init(wrapping: client))
    do {
      let result = try await body(connection)
      client.beginGracefulShutdown()
      _ = await connections.result
      return result
    } catch {
      // The failure is what counts; calls that are still open are dropped.
      connections.cancel()
      throw error
    }
  }

  /// Makes one call and turns its failure into words.
  ///
  /// - Parameters:
  ///   - what: what cannot be done when it fails, `pull docker.io/library/nginx`.
  ///   - waiting: what is said when it takes more than a second; nil to stay silent.
  ///   - deadline: how long the runtime may take; nil for as long as it likes.
  func call<Result: Sendable>(
    _ what: String, waiting: String? = nil, deadline: Duration? = .seconds(120),
    _ body: @Sendable (RuntimeConnection, CallOptions) async throws -> Result
  ) async throws -> Result {
    var options = CallOptions.defaults
    options.timeout = deadline
    options.waitForReady = false
    // The transport measures what it receives by the limit for requests, which is 4 MiB unless set
    // (grpc-swift-nio-transport 2.9); a list or an exec's output may be 16 MiB.
    options.maxRequestMessageBytes = Self.longestMessageBytes
    options.maxResponseMessageBytes = Self.longestMessageBytes
    do {
      return try await Waiting.show(waiting) { [options] in try await body(self, options) }
    } catch let error as RPCError {
      throw ClientError(error, what: what, socket: socket)
    } catch  where Task.isCancelled {
      throw ClientError(.interrupted, "cannot \(what)", why: "interrupted")
    }
  }
}

extension ClientError {
  init(_ error: RPCError, what: String, socket: SocketChoice) {
    let failed = "cannot \(what)"
    guard !Task.isCancelled else {
      // Whatever the transport makes of it: the person wanted it to end.
      self.init(.interrupted, failed, why: "interrupted")
      return
    }
    switch error.code {
    case .notFound:
      self.init(.notFound, failed, why: error.message, remedy: "swiftlet ps -a, swiftlet pods, swiftlet images")
    case .deadlineExceeded:
      self.init(.timeout, failed, why: error.message.isEmpty ? "the runtime did not answer in time" : error.message)
    case .unavailable:
      self.init(
        .unreachable, failed, why: Self.reason(error),
        remedy: "wait for the daemon to finish its start, or see swiftlet doctor")
    case .unimplemented:
      // grpc-go and grpc-swift answer so for a call they do not know; ours says which field or feature it lacks.
      let generic = ["unknown service", "unknown method", "Method not found", "isn't implemented by this server"]
      let isMissingCall = error.message.isEmpty || generic.contains { error.message.contains($0) }
      self.init(
        .failed, failed,
        why: isMissingCall ? "the runtime at \(socket.path) does not offer this" : Self.reason(error))
      self.isMissingCall = isMissingCall
    default:
      self.init(.failed, failed, why: Self.reason(error))
    }
  }

  private static func reason(_ error: RPCError) -> String {
    let text = error.message.isEmpty ? "no reason given" : error.message
    guard let cause = error.cause else { return text }
    return "\(text) (\(cause))"
  }

  /// The runtime's gRPC answer, kept where a caller decides on it.
  static func isNotFound(_ error: any Error) -> Bool { (error as? ClientError)?.status == .notFound }
}
