internal import CLinux
internal import Glibc
package import SystemPackage

/// A system call that failed: which one, why, and on what object.
package struct SystemCallError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The call or the step, for example `openat2`.
  package var call: String
  package var errno: Errno
  /// A path, a pid, a link, a field: what it was done to.
  package var subject: String

  package init(call: String, errno: Errno, subject: String) {
    self.call = call
    self.errno = errno
    self.subject = subject
  }

  /// With the calling thread's errno(3).
  package init(call: String, subject: String) {
    self.init(call: call, errno: Errno(rawValue: Glibc.errno), subject: subject)
  }

  /// The kernel's number, for rooms that do without Errno.
  package var number: Int32 { errno.rawValue }

  package var description: String { "\(call) \(subject): \(Self.name(of: errno))" }

  /// `no such file or directory (ENOENT)`, for messages; without the symbol where it has none.
  package static func text(of errno: Errno) -> String {
    let text = errno.description.lowercased()
    return clinux_host_error_name(errno.rawValue).map { "\(text) (\(String(cString: $0)))" } ?? text
  }

  /// `ENOENT (No such file or directory)`, for logs; the symbol where it has one.
  package static func name(of errno: Errno) -> String {
    guard let symbol = clinux_host_error_name(errno.rawValue) else { return "errno \(errno.rawValue)" }
    return "\(String(cString: symbol)) (\(errno.description))"
  }
}

/// Makes the call again as long as a signal interrupts it.
///
/// - Parameter body: returns -1 on failure with the reason in errno(3).
/// - Throws: ``SystemCallError`` named `call` with `subject`.
@discardableResult
func checked(_ call: String, _ subject: @autoclosure () -> String, _ body: () -> Int32) throws(SystemCallError) -> Int32
{
  while true {
    let value = body()
    if value >= 0 { return value }
    if errno != EINTR { throw SystemCallError(call: call, subject: subject()) }
  }
}

/// As ``checked(_:_:_:)``, for calls that return -errno.
@discardableResult
func checkedResult(
  _ call: String, _ subject: @autoclosure () -> String, _ body: () -> Int32
) throws(SystemCallError) -> Int32 {
  while true {
    let value = body()
    if value >= 0 { return value }
    if value != -EINTR { throw SystemCallError(call: call, errno: Errno(rawValue: -value), subject: subject()) }
  }
}
