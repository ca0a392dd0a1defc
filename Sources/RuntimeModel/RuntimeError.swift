/// An error that reaches a client: what kind it is, in words that name the object, and what lay below it.
///
/// Rooms throw their own typed errors; orchestration turns them into this, and `RPCError+Runtime` in `CRIServer` maps the
/// code to gRPC in one place.
package struct RuntimeError: Error, Sendable, CustomStringConvertible {
  /// The kinds of failure somebody reacts to (CRI clients read few codes; the rest helps people).
  package enum Code: String, Sendable, Hashable, Codable {
    case invalidArgument, notFound, alreadyExists, failedPrecondition, resourceExhausted, deadlineExceeded, cancelled
    case unavailable, unimplemented, dataLoss, internalError
    /// The one code whose text kubelet parses (`RegistryUnavailable: …`).
    case unknown
  }

  package var code: Code
  /// Lower case, no full stop, names the object and the field.
  package var message: String

  package init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }
}
