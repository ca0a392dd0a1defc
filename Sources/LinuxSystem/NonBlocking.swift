internal import CLinux
internal import Glibc
internal import SystemPackage

// Reading and writing without waiting: see ``ExitWatcher/readiness(of:for:within:)`` for when to try again.
extension OwnedFD {
  /// Makes reads and writes answer at once; of a pipe for this end, of a terminal for all descriptors of its master.
  package borrowing func stopBlocking() throws(SystemCallError) {
    let raw = withRawDescriptor { $0 }
    try checkedResult("fcntl", "descriptor \(raw)") { clinux_host_set_nonblocking(raw) }
  }

  /// - Returns: bytes read, 0 at the end; nil when there is nothing to read now.
  /// - Throws: EIO at a terminal's end.
  package borrowing func readNow(into space: UnsafeMutableRawBufferPointer) throws(SystemCallError) -> Int? {
    let raw = withRawDescriptor { $0 }
    while true {
      let count = Glibc.read(raw, space.baseAddress, space.count)
      if count >= 0 { return count }
      if errno == EAGAIN { return nil }
      if errno != EINTR { throw SystemCallError(call: "read", subject: "descriptor \(raw)") }
    }
  }

  /// - Returns: bytes written; nil when there is no room now.
  /// - Throws: EPIPE when nobody can read it any more.
  package borrowing func writeNow(_ bytes: UnsafeRawBufferPointer) throws(SystemCallError) -> Int? {
    let raw = withRawDescriptor { $0 }
    while true {
      let count = Glibc.write(raw, bytes.baseAddress, bytes.count)
      if count >= 0 { return count }
      if errno == EAGAIN { return nil }
      if errno != EINTR { throw SystemCallError(call: "write", subject: "descriptor \(raw)") }
    }
  }
}
