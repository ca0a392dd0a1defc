internal import CLinux
internal import Glibc
internal import SystemPackage

/// A descriptor with one owner: closed when it goes out of scope, never twice, never by somebody else.
package struct OwnedFD: ~Copyable, Sendable {
  private let raw: Int32

  /// Takes over a descriptor that is nobody else's, close-on-exec already.
  package init(owning raw: Int32) {
    precondition(raw >= 0, "not a descriptor")
    self.raw = raw
  }

  // Never again on EINTR: Linux has given the number back by then, and it may be another thread's already (close(2)).
  deinit { Self.discard(raw) }

  /// Opens a path of the node's own (never one inside a container's root: that is ``RootHandle``'s).
  ///
  /// - Parameter flags: of open(2); O_CLOEXEC is added.
  package static func open(_ path: String, flags: Int32, mode: UInt32 = 0) throws(SystemCallError) -> OwnedFD {
    OwnedFD(owning: try checked("open", path) { Glibc.open(path, flags | O_CLOEXEC, mode) })
  }

  /// Lends the number for the time of `body`.
  package borrowing func withRawDescriptor<Result: ~Copyable, Failure: Error>(
    _ body: (Int32) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(raw)
  }

  /// A second descriptor of the same open file.
  package borrowing func duplicate() throws(SystemCallError) -> OwnedFD {
    let raw = raw
    return OwnedFD(owning: try checked("dup", "descriptor \(raw)") { fcntl(raw, F_DUPFD_CLOEXEC, 0) })
  }

  /// FD_SETSIZE of select(2).
  package static let selectLimit: Int32 = 1024

  /// The same open file under a number of 1024 or more, where RLIMIT_NOFILE has one. For descriptors that come in
  /// hundreds: the numbers below are what libraries that still use select(2) can take, and libnftables ends the process
  /// when its socket has another.
  package consuming func outOfSelectRange() -> OwnedFD {
    let high = fcntl(raw, F_DUPFD_CLOEXEC, Self.selectLimit)
    return high >= 0 ? OwnedFD(owning: high) : self
  }

  /// Gives up ownership: the caller closes it.
  package consuming func release() -> Int32 {
    let raw = raw
    discard self
    return raw
  }

  /// Closes it where the result matters: a file's last write may fail only here.
  package consuming func close() throws(SystemCallError) {
    let raw = release()
    guard Glibc.close(raw) != 0 else { return }
    let error = SystemCallError(call: "close", subject: "descriptor \(raw)")
    precondition(error.errno != .badFileDescriptor, "descriptor \(raw) was closed by somebody else")
    if error.errno != .interrupted { throw error }
  }

  private static func discard(_ raw: Int32) {
    guard Glibc.close(raw) != 0 else { return }
    precondition(errno != EBADF, "descriptor \(raw) was closed by somebody else")
  }
}

/// Flags of open(2) that Swift's Glibc module leaves out.
package enum OpenFlag {
  /// O_PATH: a descriptor that names a file without giving access to it.
  package static let path: Int32 = clinux_host_o_path()
}

/// A descriptor with several owners: closed with the last of them.
package final class SharedFD: Sendable {
  private let descriptor: OwnedFD

  package init(_ descriptor: consuming OwnedFD) { self.descriptor = descriptor }

  /// The number; good as long as this object is kept alive by whoever uses it.
  package var raw: Int32 { descriptor.withRawDescriptor { $0 } }
}
