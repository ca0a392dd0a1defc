internal import CLinux

/// RLIMIT_NOFILE: how many descriptors a process may have.
package enum DescriptorLimit {
  /// The soft limit that programs in containers begin with, at most the hard one, which they may raise it to: FD_SETSIZE
  /// of select(2), beyond which a program that uses it writes over its own memory. systemd gives services the same.
  package static let ofPrograms = UInt64(OwnedFD.selectLimit)

  /// Gives this process, and the shims that it starts, as many descriptors as it may have without a privilege.
  ///
  /// - Throws: what setrlimit(2) met.
  package static func raise() throws(SystemCallError) {
    try checkedResult("setrlimit", "RLIMIT_NOFILE") { clinux_host_raise_open_files() }
  }
}
