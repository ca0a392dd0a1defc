internal import CLinux
internal import Glibc
package import RuntimeModel
internal import SystemPackage

/// Connections to what listens on the loopback of the node or of a pod.
package enum LoopbackConnection {
  /// Connects to 127.0.0.1, and if that fails to ::1, on a thread of its own: setns(2) moves the thread that calls it.
  ///
  /// - Parameters:
  ///   - namespace: the pod's network namespace; nil: the node's.
  ///   - limit: until when each of the two must have answered.
  /// - Returns: a stream socket that does not wait.
  /// - Throws: what 127.0.0.1 answered, ECONNREFUSED for one.
  package static func open(
    port: UInt16, in namespace: SharedFD?, within limit: Duration
  ) async throws(SystemCallError) -> OwnedFD {
    let connected: Result<Int32, SystemCallError> = await withCheckedContinuation { continuation in
      startThread {
        continuation.resume(
          returning: Result { () throws(SystemCallError) in try connectHere(port, namespace, limit).release() })
      }
    }
    return OwnedFD(owning: try connected.get())
  }

  private static func connectHere(
    _ port: UInt16, _ namespace: SharedFD?, _ limit: Duration
  ) throws(SystemCallError) -> OwnedFD {
    if let namespace {
      try checkedResult("setns", "a network namespace") { clinux_enter_network(namespace.raw) }
    }
    do {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
      return try connect(AF_INET, address, port, limit)
    } catch let first {
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      address.sin6_addr = in6addr_loopback
      do { return try connect(AF_INET6, address, port, limit) } catch { throw first }
    }
  }

  private static func connect<Address>(
    _ family: Int32, _ address: Address, _ port: UInt16, _ limit: Duration
  ) throws(SystemCallError) -> OwnedFD {
    let subject = "port \(port) of localhost"
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let descriptor = OwnedFD(owning: try checked("socket", subject) { socket(family, kind, 0) })
    let raw = descriptor.withRawDescriptor { $0 }
    let result = withUnsafeBytes(of: address) { bytes in
      bytes.withMemoryRebound(to: sockaddr.self) {
        Glibc.connect(raw, $0.baseAddress, socklen_t(bytes.count))
      }
    }
    if result == 0 { return descriptor }
    guard errno == EINPROGRESS || errno == EINTR else { throw SystemCallError(call: "connect", subject: subject) }
    var entry = pollfd(fd: raw, events: Int16(POLLOUT), revents: 0)
    let milliseconds = Int32(clamping: Int64(limit / .milliseconds(1)))
    guard try checked("poll", subject, { poll(&entry, 1, milliseconds) }) == 1 else {
      throw SystemCallError(call: "connect", errno: .timedOut, subject: subject)
    }
    var error: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    _ = try checked("getsockopt", subject) { getsockopt(raw, SOL_SOCKET, SO_ERROR, &error, &size) }
    guard error == 0 else {
      throw SystemCallError(call: "connect", errno: Errno(rawValue: error), subject: subject)
    }
    return descriptor
  }
}

extension NetworkNamespace {
  /// The one that a process is in, whose identity was recorded.
  /// - Returns: nil when that process is gone.
  package static func open(of process: ProcessIdentity) throws(SystemCallError) -> SharedFD? {
    guard let pidfd = try Pidfd.open(process) else { return nil }
    let namespace: SharedFD
    do { namespace = SharedFD(try OwnedFD.open("/proc/\(process.pid)/ns/net", flags: O_RDONLY)) } catch {
      if pidfd.hasExited() { return nil }
      throw error
    }
    // The number may have been another's meanwhile only if the process has ended.
    return pidfd.hasExited() ? nil : namespace
  }
}
