package import RuntimeModel

/// What can go wrong with images, as kinds a caller reacts to.
package struct ImageError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The kinds of failure.
  package enum Kind: Sendable, Hashable {
    /// The reference or id text is not one.
    case invalidReference
    /// The registry, the archive or this store has no such image.
    case notFound
    /// More than one image begins with the given id.
    case ambiguous
    /// No host of the registry answers (kubelet knows this by the word `RegistryUnavailable`).
    case registryUnavailable
    /// The registry refuses us or our credentials.
    case denied
    /// The image has no manifest for this machine.
    case noPlatform
    /// Bytes differ from their digest or size, or end early.
    case corrupt
    /// The content is well transported and breaks a rule of the format, or tries to leave its root.
    case malformed
    /// A bound of ours was reached: size, depth, number of entries.
    case limit
    /// The disk takes nothing: it is full or read-only.
    case noSpace
    /// A kind of image or content that this runtime does not take.
    case unsupported
    /// A system call failed.
    case system
  }

  package var kind: Kind
  /// Lower case (but for `RegistryUnavailable`), names the object.
  package var message: String

  package init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  package var description: String { runtimeError.message }

  /// The same for a client, by CRI.md 0.2: `registryUnavailable` is code Unknown with a text that begins with the word.
  package var runtimeError: RuntimeError {
    switch kind {
    case .invalidReference, .malformed: RuntimeError(.invalidArgument, message)
    case .ambiguous: RuntimeError(.invalidArgument, message)
    case .notFound, .noPlatform: RuntimeError(.notFound, message)
    case .registryUnavailable: RuntimeError(.unknown, "RegistryUnavailable: " + message)
    case .denied, .unsupported: RuntimeError(.failedPrecondition, message)
    case .corrupt: RuntimeError(.dataLoss, message)
    case .limit, .noSpace: RuntimeError(.resourceExhausted, message)
    case .system: RuntimeError(.internalError, message)
    }
  }
}
