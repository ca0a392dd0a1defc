package import CNI
package import GRPCCore
package import ImageStore
package import LinuxSystem
package import PodNetwork
package import RuntimeModel
package import Seccomp
package import ShimProtocol
package import Store
import SystemPackage

// The one place where errors become gRPC statuses. gRPC asks each thrown error for its code and text through
// RPCErrorConvertible; the codes and who reads them: CRI.md 0.2.

extension RuntimeError: RPCErrorConvertible {
  package var rpcErrorCode: RPCError.Code {
    switch code {
    case .invalidArgument: .invalidArgument
    case .notFound: .notFound
    case .alreadyExists: .alreadyExists
    case .failedPrecondition: .failedPrecondition
    case .resourceExhausted: .resourceExhausted
    case .deadlineExceeded: .deadlineExceeded
    case .cancelled: .cancelled
    case .unavailable: .unavailable
    case .unimplemented: .unimplemented
    case .dataLoss: .dataLoss
    case .internalError: .internalError
    case .unknown: .unknown
    }
  }

  package var rpcErrorMessage: String { message }
}

extension ImageError: RPCErrorConvertible {
  package var rpcErrorCode: RPCError.Code { runtimeError.rpcErrorCode }
  package var rpcErrorMessage: String { runtimeError.message }
}

extension ShimCallError: RPCErrorConvertible {
  package var rpcErrorCode: RPCError.Code { RuntimeError(code, message).rpcErrorCode }
  package var rpcErrorMessage: String { message }
}

extension SystemCallError: RPCErrorConvertible {
  package var rpcErrorCode: RPCError.Code {
    [
      .noSpace, .diskQuotaExceeded, .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory,
      .resourceTemporarilyUnavailable,
    ]
    .contains(errno) ? .resourceExhausted : .internalError
  }
  package var rpcErrorMessage: String { description }
}

extension StoreError: RPCErrorConvertible {
  package var rpcErrorCode: RPCError.Code {
    if case .nameTaken = self { return .alreadyExists }
    return isRefusalOfDisk ? .resourceExhausted : .internalError
  }
  package var rpcErrorMessage: String { description }
}

extension SeccompError: RPCErrorConvertible {
  package var rpcErrorCode: RPCError.Code { .failedPrecondition }
  package var rpcErrorMessage: String { description }
}

extension NetworkError: RPCErrorConvertible {
  package var rpcErrorCode: RPCError.Code {
    switch self {
    case .addressExhausted, .bridgeFull, .namespaceLimit: .resourceExhausted
    case .hostPortTaken, .bridgeTaken, .interfaceTaken, .routeOverlap: .failedPrecondition
    case .portUnusable, .configuration: .invalidArgument
    case .unimplemented: .unimplemented
    case .closed: .unavailable
    case .timeout: .deadlineExceeded
    case .kernel, .rules: .internalError
    }
  }
  package var rpcErrorMessage: String { "pod network: \(description)" }
}

extension CNIError: RPCErrorConvertible {
  package var rpcErrorCode: RPCError.Code {
    switch self {
    case .noConfiguration, .badConfiguration, .pluginMissing: .failedPrecondition
    case .badRequest: .invalidArgument
    case .timedOut: .deadlineExceeded
    case .plugin, .badAnswer: .internalError
    case .system(_, let error): error.rpcErrorCode
    }
  }
  package var rpcErrorMessage: String { "cni: \(description)" }
}
