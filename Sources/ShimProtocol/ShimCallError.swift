import Glibc
package import RuntimeModel

/// Why a connection to a shim is no more.
package enum ConnectionEnd: Error, Sendable, Hashable, CustomStringConvertible {
  /// ``ShimClient/close()``, or the client went out of use.
  case closedHere
  /// The shim has closed it, most often because it has exited.
  case closedByShim
  /// A system call on the socket failed.
  case failed(call: String, errno: Int32)
  /// The shim sent what is no answer to any call.
  case malformed(FrameError)

  package var description: String {
    switch self {
    case .closedHere: "connection closed by the daemon"
    case .closedByShim: "connection closed by the shim"
    case .failed(let call, let errno): "\(call): \(String(cString: strerror(errno)))"
    case .malformed(let error): "\(error)"
    }
  }
}

/// A call to a shim that gave no response message.
package struct ShimCallError: Error, Sendable, CustomStringConvertible {
  /// Who ended the call. Only after ``shim`` is it known that the shim has done with it; after any other the shim may
  /// have carried it out, may still do so, or may never have seen it.
  package enum Origin: Sendable, Hashable {
    /// The shim answered with a status; ``ShimCallError/failure`` may say which step failed.
    case shim
    /// The deadline passed before the answer came.
    case deadline
    /// The calling task was cancelled.
    case cancelled
    /// There is no connection any more; every other call on it fails as well.
    case connection(ConnectionEnd)
    /// The message cannot be sent, or the answer's payload is no message of the method.
    case message
  }

  package var origin: Origin
  /// What kind of failure it is for a client of ours.
  package var code: RuntimeError.Code
  /// Lower case, no full stop; names the method.
  package var message: String
  /// Which step failed with what errno, when the shim says so.
  package var failure: Swiftlet_Shim_V1_StepFailure?

  package init(
    origin: Origin, code: RuntimeError.Code, message: String, failure: Swiftlet_Shim_V1_StepFailure? = nil
  ) {
    self.origin = origin
    self.code = code
    self.message = message
    self.failure = failure
  }

  /// True when the connection was lost, or never made: the shim may be gone, or another connection may reach it.
  package var isConnectionLoss: Bool {
    if case .connection = origin { true } else { false }
  }

  package var description: String { message }
}

extension ShimCallError {
  init(method: String, status: Swiftlet_Shim_V1_Status) {
    let failure = status.hasFailure ? status.failure : nil
    self.init(
      origin: .shim, code: failure.flatMap(Self.code) ?? Self.code(grpc: status.code),
      message: "shim \(method): \(status.message)", failure: failure)
  }

  init(method: String, end: ConnectionEnd) {
    self.init(origin: .connection(end), code: .unavailable, message: "shim \(method): \(end)")
  }

  static func deadline(_ method: String) -> ShimCallError {
    ShimCallError(origin: .deadline, code: .deadlineExceeded, message: "shim \(method): no answer before the deadline")
  }

  static func cancelled(_ method: String) -> ShimCallError {
    ShimCallError(origin: .cancelled, code: .cancelled, message: "shim \(method): cancelled")
  }

  /// Whose fault a failed step is: the shim tells which it was, and nothing of clients.
  /// - Returns: nil where the step says no more than the shim's own code.
  private static func code(_ failure: Swiftlet_Shim_V1_StepFailure) -> RuntimeError.Code? {
    if [ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EAGAIN].contains(failure.errno) { return .resourceExhausted }
    if failure.step.hasPrefix("sysctl") || failure.step == "set sysctl" { return .invalidArgument }
    // What the image, the log directory or the container's /dev is not: as the request wants it.
    if ["exec", "open terminal"].contains(failure.step) || failure.step.hasPrefix("open log") {
      return .failedPrecondition
    }
    return nil
  }

  /// The numbers are gRPC's (google.rpc.Code).
  private static func code(grpc: Int32) -> RuntimeError.Code {
    switch grpc {
    case 1: .cancelled
    case 2: .unknown
    case 3: .invalidArgument
    case 4: .deadlineExceeded
    case 5: .notFound
    case 6: .alreadyExists
    case 8: .resourceExhausted
    case 9: .failedPrecondition
    case 12: .unimplemented
    case 14: .unavailable
    case 15: .dataLoss
    default: .internalError
    }
  }
}
