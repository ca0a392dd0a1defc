/// A compiled filter, ready for seccomp(2).
package struct SeccompProgram: Sendable, Hashable {
  /// `struct sock_filter[]` of this machine: 8 bytes for each instruction.
  package let bytes: [UInt8]

  package var instructionCount: Int { bytes.count / 8 }

  init(bytes: [UInt8]) { self.bytes = bytes }
}

/// Which filter a container asks for; no filter at all is not one of them.
package enum SeccompProfile: Sendable, Hashable {
  /// Ours, opened up by what the container's final capabilities (bit n for capability n) let it do anyway.
  case runtimeDefault(capabilities: UInt64)
  /// A file of the node's, in the OCI form.
  case localhost(json: [UInt8])
}

/// Why a profile has no program.
package enum SeccompError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Localhost profiles are not built yet.
  case unimplemented
  /// libseccomp has no table for this machine, or we have no list for it.
  case architecture(UInt32)
  /// libseccomp refused a step: which, and its errno.
  case library(step: String, errno: Int32)
  /// More instructions than the kernel loads (BPF_MAXINSNS).
  case tooLong(instructions: Int)

  package var description: String {
    switch self {
    case .unimplemented: "seccomp profiles of type Localhost are not built yet"
    case .architecture(let token): "no default seccomp profile for architecture \(String(token, radix: 16))"
    case .library(let step, let errno): "seccomp profile: \(step): errno \(errno)"
    case .tooLong(let count): "seccomp profile: \(count) instructions, the kernel takes 4096"
    }
  }
}
