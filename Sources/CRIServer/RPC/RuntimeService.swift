import CRIProtocol
package import GRPCCore
import Logging
import RuntimeModel

/// `runtime.v1.RuntimeService`; each RPC is a file beside this one.
struct RuntimeService: Runtime_V1_RuntimeService.SimpleServiceProtocol {
  let daemon: Daemon
}

/// `runtime.v1.ImageService`; each RPC is a file beside this one.
struct ImageService: Runtime_V1_ImageService.SimpleServiceProtocol {
  let daemon: Daemon
}

extension Daemon {
  /// What the daemon serves on its socket.
  package var services: [any RegistrableRPCService] {
    [RuntimeService(daemon: self), ImageService(daemon: self), SwiftletService(daemon: self)]
  }

  /// What every RPC passes through first.
  package var interceptors: [any ServerInterceptor] { [DeadlineInterceptor(), ReadinessInterceptor(daemon: self)] }
}

/// Answers Unavailable until recovery has finished: kubelet retries that, and takes everything else as final.
private struct ReadinessInterceptor: ServerInterceptor {
  let daemon: Daemon

  func intercept<Input: Sendable, Output: Sendable>(
    request: StreamingServerRequest<Input>, context: ServerContext,
    next: @Sendable (StreamingServerRequest<Input>, ServerContext) async throws -> StreamingServerResponse<Output>
  ) async throws -> StreamingServerResponse<Output> {
    guard daemon.recovered.isOpen else {
      throw RuntimeError(.unavailable, "swiftletd is still recovering its pods")
    }
    do {
      return try await next(request, context)
    } catch {
      daemon.logger.debug(
        "request failed", metadata: ["method": "\(context.descriptor.method)", "error": "\(error)"])
      throw error
    }
  }
}
