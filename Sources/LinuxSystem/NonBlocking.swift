internal import CLinux
internal import Glibc
internal import SystemPackage

extension OwnedFD {
  /// Makes reads and writes answer at once; of a pipe for this end, of a terminal for all descriptors of its master.
  package borrowing func stopBlocking() throws(SystemCallError) {
    let raw = withRawDescriptor { $0 }
    try checkedResult("fcntl", "descriptor \(raw)") { clinux_host_set_nonblocking(raw) }
  }
}

/// Reading and writing without waiting: see ``ExitWatcher/readiness(of:for:within:)`` for when to try again.
///
/// Without waiting for bytes or room, that is: whoever has the other end of a pipe can hold its lock, for instance within
/// sendfile(2) from a file system that does not answer, and everybody else waits for that.
package enum NonBlocking {
  /// - Returns: bytes read, 0 at the end; nil when there is nothing to read now.
  /// - Throws: EIO at a terminal's end.
  package static func read(
    _ descriptor: Int32, into space: UnsafeMutableRawBufferPointer
  ) throws(SystemCallError) -> Int? {
    while true {
      let count = Glibc.read(descriptor, space.baseAddress, space.count)
      if count >= 0 { return count }
      if errno == EAGAIN { return nil }
      if errno != EINTR { throw SystemCallError(call: "read", subject: "descriptor \(descriptor)") }
    }
  }

  /// - Returns: bytes written; nil when there is no room now.
  /// - Throws: EPIPE when nobody can read it any more.
  package static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemCallError) -> Int? {
    while true {
      let count = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
      if count >= 0 { return count }
      if errno == EAGAIN { return nil }
      if errno != EINTR { throw SystemCallError(call: "write", subject: "descriptor \(descriptor)") }
    }
  }
}
