/// A compiled filter, ready for seccomp(2).
package struct SeccompProgram: Sendable, Hashable {
  /// `struct sock_filter[]` of this machine: 8 bytes for each instruction.
  package let bytes: [UInt8]
  /// SECCOMP_FILTER_FLAG_* to load it with.
  package let flags: UInt32

  package var instructionCount: Int { bytes.count / 8 }

  /// - Throws: ``SeccompError/tooLong(instructions:)``.
  init(_ bytes: [UInt8], flags: UInt32) throws(SeccompError) {
    guard bytes.count <= 4096 * 8 else { throw .tooLong(instructions: bytes.count / 8) }
    self.bytes = bytes
    self.flags = flags
  }
}

/// Which filter a container asks for; no filter at all is not one of them. Capabilities are the container's final ones,
/// bit n for capability n.
package enum SeccompProfile: Sendable, Hashable {
  /// Ours, opened up by what the capabilities let it do anyway.
  case runtimeDefault(capabilities: UInt64)
  /// A file of the node's, in the OCI form or Docker's; its conditions may ask for the capabilities.
  case localhost(json: [UInt8], capabilities: UInt64)
}

/// Why a profile has no program.
package enum SeccompError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A Localhost profile that cannot be applied as it is: where in it (`syscalls[3].action`; empty: the whole), and why.
  case profile(place: String, reason: String)
  /// libseccomp has no table for this machine, or we have no list for it.
  case architecture(UInt32)
  /// libseccomp refused a step: which, and its errno.
  case library(step: String, errno: Int32)
  /// More instructions than the kernel loads (BPF_MAXINSNS).
  case tooLong(instructions: Int)

  package var description: String {
    switch self {
    case .profile(let place, let reason): place.isEmpty ? reason : "\(place): \(reason)"
    case .architecture(let token): "no default seccomp profile for architecture \(String(token, radix: 16))"
    case .library(let step, let errno): "seccomp profile: \(step): errno \(errno)"
    case .tooLong(let count): "seccomp profile: \(count) instructions, the kernel takes 4096"
    }
  }
}
