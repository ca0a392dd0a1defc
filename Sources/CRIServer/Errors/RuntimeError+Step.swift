import GRPCCore
import LinuxSystem
import RuntimeModel
import ShimProtocol

extension RuntimeError {
  /// What a step of ours failed with, as a client gets it.
  /// - Parameter action: what failed, with its object: `start of container web (0123456789ab)`.
  init(_ action: String, _ error: any Error) {
    if let error = error as? RuntimeError {
      self = error
    } else if let error = error as? ShimCallError {
      self.init(error.code, "\(action): \(error.failure?.text ?? error.message)")
    } else if let error = error as? SystemCallError, error.rpcErrorCode == .resourceExhausted {
      self.init(.resourceExhausted, "\(action): \(error)")
    } else {
      self.init(.internalError, "\(action): \(error)")
    }
  }
}
