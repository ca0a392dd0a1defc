internal import CLinux
internal import Glibc
internal import SystemPackage

/// Both ends of a pipe(7), close-on-exec; each closed by itself.
package struct Pipe: Sendable {
  package private(set) var reading: SharedFD
  package private(set) var writing: SharedFD

  package init() throws(SystemCallError) {
    var ends: [Int32] = [-1, -1]
    try checkedResult("pipe2", "") { ends.withUnsafeMutableBufferPointer { clinux_host_pipe($0.baseAddress) } }
    reading = SharedFD(OwnedFD(owning: ends[0]))
    writing = SharedFD(OwnedFD(owning: ends[1]))
  }

  /// Makes reads and writes at this end answer EAGAIN instead of waiting.
  package static func stopBlocking(_ end: SharedFD) throws(SystemCallError) {
    let raw = end.raw
    try checkedResult("fcntl", "descriptor \(raw)") { clinux_host_set_nonblocking(raw) }
  }
}
