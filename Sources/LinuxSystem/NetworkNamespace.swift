internal import CLinux
internal import Glibc
internal import SystemPackage

/// Network namespaces that have a name in the file system, for programs that know namespaces by path only.
///
/// The name is a bind mount, so that the namespace lives as long as the name or any process in it, whichever is longer.
package enum NetworkNamespace {
  /// Makes a namespace with its loopback up, and gives it a name.
  ///
  /// On a thread of its own: unshare(2) moves the thread that calls it.
  /// - Parameter path: of a file that does not exist, in a directory that only we can write to.
  /// - Returns: a descriptor of the namespace.
  /// - Throws: EEXIST when the name is taken; nothing is left then or at any other failure.
  package static func make(pinnedAt path: String) async throws(SystemCallError) -> SharedFD {
    try await onOwnThread { () throws(SystemCallError) in try makeHere(path) }
  }

  /// Gives a namespace that a user namespace owns a name, and has its loopback up. See ``make(pinnedAt:)``.
  package static func pin(_ namespace: SharedFD, at path: String) async throws(SystemCallError) {
    try await onOwnThread { () throws(SystemCallError) in
      try checkedResult("setns", "a network namespace") { clinux_enter_network(namespace.raw) }
      try checkedResult("set up", "loopback of a network namespace") { clinux_host_raise_loopback() }
      try name(namespace, path)
    }
  }

  /// Opens a named namespace.
  /// - Throws: ENOENT when there is no such name.
  package static func open(_ path: String) throws(SystemCallError) -> SharedFD {
    SharedFD(try OwnedFD.open(path, flags: O_RDONLY | O_NOFOLLOW))
  }

  /// Takes the name away; processes in the namespace stay there. Success when there is none.
  package static func unpin(_ path: String) throws(SystemCallError) {
    // A name may carry several mounts, where an attempt was cut off; each call takes one.
    for _ in 0..<8 {
      let failed = clinux_host_unpin(path)
      if failed == 0 { continue }
      if failed == -EINVAL || failed == -ENOENT { break }  // no mount is there (any more)
      throw SystemCallError(call: "umount2", errno: Errno(rawValue: -failed), subject: path)
    }
    if unlink(path) != 0, errno != ENOENT { throw SystemCallError(call: "unlink", subject: path) }
  }

  private static func makeHere(_ path: String) throws(SystemCallError) -> SharedFD {
    try checkedResult("unshare", "a network namespace") { clinux_host_new_network() }
    let namespace = SharedFD(try OwnedFD.open("/proc/thread-self/ns/net", flags: O_RDONLY))
    try name(namespace, path)
    return namespace
  }

  private static func name(_ namespace: SharedFD, _ path: String) throws(SystemCallError) {
    _ = try OwnedFD.open(path, flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
    do {
      try checkedResult("move_mount", path) { clinux_host_pin(namespace.raw, path) }
    } catch {
      Glibc.unlink(path)
      throw error
    }
  }
}
