import GRPCCore

/// A call whose time has passed ends with DEADLINE_EXCEEDED, whoever notices first.
///
/// The transport only cancels such a call; when our answer is faster than the client's own clock, the client would be told
/// of a cancellation that it never asked for. kubelet tells a probe that took too long by the code (CRI.md 0.2).
struct DeadlineInterceptor: ServerInterceptor {
  /// The transport's clock started a little earlier than ours.
  private static let slack = Duration.milliseconds(50)

  func intercept<Input: Sendable, Output: Sendable>(
    request: StreamingServerRequest<Input>, context: ServerContext,
    next: @Sendable (StreamingServerRequest<Input>, ServerContext) async throws -> StreamingServerResponse<Output>
  ) async throws -> StreamingServerResponse<Output> {
    guard
      let timeout = request.metadata[stringValues: "grpc-timeout"].first(where: { _ in true }).flatMap(Self.duration)
    else { return try await next(request, context) }
    let end = ContinuousClock.now + timeout - Self.slack
    do {
      var response = try await next(request, context)
      if case .failure(let error) = response.accepted, let late = Self.late(error, end) {
        response.accepted = .failure(late)
      }
      return response
    } catch {
      throw Self.late(error, end) ?? error
    }
  }

  /// What a cancelled call's error is once its time has passed; nil for any other error, and before.
  static func late(_ error: any Error, _ end: ContinuousClock.Instant) -> RPCError? {
    guard ContinuousClock.now >= end else { return nil }
    let known = error as? RPCError
    let convertible = error as? any RPCErrorConvertible
    let isCancelled = error is CancellationError || (known?.code ?? convertible?.rpcErrorCode) == .cancelled
    guard isCancelled else { return nil }
    let text = known?.message ?? convertible?.rpcErrorMessage ?? "cancelled"
    return RPCError(code: .deadlineExceeded, message: "\(text): the call's time has passed")
  }

  /// At most eight digits and a unit (gRPC over HTTP/2, "Timeout").
  static func duration(_ text: String) -> Duration? {
    guard let unit = text.last, let number = Int64(text.dropLast()), number >= 0, text.utf8.count <= 9 else {
      return nil
    }
    switch unit {
    case "H": return .seconds(number * 3600)
    case "M": return .seconds(number * 60)
    case "S": return .seconds(number)
    case "m": return .milliseconds(number)
    case "u": return .microseconds(number)
    case "n": return .nanoseconds(number)
    default: return nil
    }
  }
}
