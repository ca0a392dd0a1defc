internal import CLinux
internal import Glibc
package import RuntimeModel
internal import SystemPackage

/// How a child of ours ended.
package enum ExitStatus: Sendable, Hashable {
  case exited(code: Int32)
  case killed(signal: Int32)
}

/// A process that cannot be confused with another that got its number (pidfd_open(2)).
package struct Pidfd: ~Copyable, Sendable {
  /// The number at the time it was opened; for texts and /proc only.
  package let pid: Int32
  private let descriptor: OwnedFD

  /// - Parameter descriptor: a pidfd of `pid`, as clone3 hands it out.
  package init(owning descriptor: consuming OwnedFD, pid: Int32) {
    self.descriptor = descriptor
    self.pid = pid
  }

  /// - Throws: ESRCH when there is no such process.
  package static func open(pid: Int32) throws(SystemCallError) -> Pidfd {
    let raw = try checkedResult("pidfd_open", "pid \(pid)") { clinux_host_pidfd_open(pid, 0) }
    return Pidfd(owning: OwnedFD(owning: raw), pid: pid)
  }

  /// Opens the process that was recorded, however many have had its number since.
  ///
  /// - Returns: nil when that process is gone.
  package static func open(_ identity: ProcessIdentity) throws(SystemCallError) -> Pidfd? {
    let pidfd: Pidfd
    do {
      pidfd = try open(pid: identity.pid)
    } catch {
      guard error.errno == .noSuchProcess else { throw error }
      return nil
    }
    // Looked at after the opening: whoever has the number now is who the descriptor refers to, or has ended.
    if processIdentity(pid: identity.pid) == identity { return consume pidfd }
    return nil
  }

  package borrowing func withRawDescriptor<Result: ~Copyable, Failure: Error>(
    _ body: (Int32) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try descriptor.withRawDescriptor(body)
  }

  /// Sends a signal, by the kernel's number.
  ///
  /// - Throws: ESRCH when the process has ended and was reaped.
  package borrowing func send(signal: Int32) throws(SystemCallError) {
    let pid = pid
    try descriptor.withRawDescriptor { (raw) throws(SystemCallError) in
      _ = try checkedResult("pidfd_send_signal", "signal \(signal) to pid \(pid)") {
        clinux_host_pidfd_send_signal(raw, signal)
      }
    }
  }

  /// True once the process has ended, reaped or not.
  package borrowing func hasExited() -> Bool {
    descriptor.withRawDescriptor { raw in
      var entry = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
      return poll(&entry, 1, 0) == 1
    }
  }

  /// Reaps a child of ours, without waiting.
  ///
  /// - Returns: nil while it runs.
  /// - Throws: ECHILD when it is not our child or was reaped.
  package borrowing func reap() throws(SystemCallError) -> ExitStatus? {
    let pid = pid
    return try descriptor.withRawDescriptor { (raw) throws(SystemCallError) in
      var code: Int32 = 0
      var status: Int32 = 0
      let reaped = try checkedResult("waitid", "pid \(pid)") { clinux_host_reap(raw, &code, &status) }
      guard reaped == 1 else { return nil }
      return code == Int32(CLD_EXITED) ? .exited(code: status) : .killed(signal: status)
    }
  }

  /// Who has this number now.
  ///
  /// - Returns: nil when nobody has.
  package static func processIdentity(pid: Int32) -> ProcessIdentity? {
    guard pid > 0, let text = try? readSmallFile("/proc/\(pid)/stat", limit: 4096) else { return nil }
    // proc(5): the second field is the program's name in parentheses and may hold anything; field 22 counts from there.
    guard let end = text.lastIndex(of: UInt8(ascii: ")")) else { return nil }
    let fields = text[(end + 1)...].split(separator: UInt8(ascii: " "))
    guard fields.count > 19, let start = UInt64(String(decoding: fields[19], as: UTF8.self)) else { return nil }
    return ProcessIdentity(pid: pid, startTime: start)
  }
}
