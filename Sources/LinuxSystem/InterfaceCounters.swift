internal import Glibc
package import RuntimeModel

/// What has gone over one interface of a network namespace, as that namespace counts it.
package struct InterfaceCounters: Sendable, Equatable {
  package var name: String
  package var receivedBytes: UInt64
  package var receiveErrors: UInt64
  package var sentBytes: UInt64
  package var sendErrors: UInt64

  /// The interfaces of the namespace that a process is in, in the kernel's order, without loopback (`/proc/PID/net/dev`,
  /// proc_pid_net(5)): one file, whoever made the network.
  ///
  /// - Returns: nil when the process is gone.
  package static func read(of process: ProcessIdentity) -> [InterfaceCounters]? {
    guard let content = try? readSmallFile("/proc/\(process.pid)/net/dev", limit: 1 << 20),
      // Looked at afterwards: the number had not been given to another by then.
      Pidfd.processIdentity(pid: process.pid) == process
    else { return nil }
    return parse(String(decoding: content, as: UTF8.self))
  }

  static func parse(_ text: String) -> [InterfaceCounters] {
    // Two lines of headings.
    text.split(separator: "\n").dropFirst(2).compactMap { line in
      guard let colon = line.lastIndex(of: ":") else { return nil }
      let name = line[..<colon].drop { $0 == " " }
      let numbers = line[line.index(after: colon)...].split(separator: " ").map { UInt64($0) }
      guard name != "lo", numbers.count >= 11, let received = numbers[0], let receiveErrors = numbers[2],
        let sent = numbers[8], let sendErrors = numbers[10]
      else { return nil }
      return InterfaceCounters(
        name: String(name), receivedBytes: received, receiveErrors: receiveErrors, sentBytes: sent,
        sendErrors: sendErrors)
    }
  }
}
