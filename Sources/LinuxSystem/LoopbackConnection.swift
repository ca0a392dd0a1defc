internal import CLinux
internal import Glibc
package import RuntimeModel
internal import SystemPackage

/// Connections to what listens on the loopback of the node or of a pod.
package enum LoopbackConnection {
  /// Connects to 127.0.0.1, and if that fails to ::1.
  ///
  /// - Parameters:
  ///   - namespace: the pod's network namespace; nil: the node's.
  ///   - limit: until when each of the two must have answered.
  ///   - exits: waits for them.
  /// - Returns: a stream socket that does not wait.
  /// - Throws: what 127.0.0.1 answered, ECONNREFUSED for one, as ``SystemCallError``; CancellationError.
  package static func open(
    port: UInt16, in namespace: SharedFD?, within limit: Duration, _ exits: ExitWatcher
  ) async throws -> OwnedFD {
    do {
      return try await connect(try await socket(AF_INET, in: namespace), four(port), port, limit, exits)
    } catch let first {
      try Task.checkCancellation()
      do {
        return try await connect(try await socket(AF_INET6, in: namespace), six(port), port, limit, exits)
      } catch {
        try Task.checkCancellation()
        throw first
      }
    }
  }

  /// On a thread of its own where it is a pod's: setns(2) moves the thread that calls it, and a socket stays where it was
  /// made.
  private static func socket(_ family: Int32, in namespace: SharedFD?) async throws(SystemCallError) -> OwnedFD {
    guard let namespace else { return OwnedFD(owning: try socketHere(family)) }
    let raw = try await onOwnThread { () throws(SystemCallError) in
      try checkedResult("setns", "a network namespace") { clinux_enter_network(namespace.raw) }
      return try socketHere(family)
    }
    return OwnedFD(owning: raw)
  }

  private static func socketHere(_ family: Int32) throws(SystemCallError) -> Int32 {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    return OwnedFD(owning: try checked("socket", "localhost") { Glibc.socket(family, kind, 0) }).outOfSelectRange()
      .release()
  }

  private static func four(_ port: UInt16) -> [UInt8] {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafeBytes(of: address) { [UInt8]($0) }
  }

  private static func six(_ port: UInt16) -> [UInt8] {
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_port = port.bigEndian
    address.sin6_addr = in6addr_loopback
    return withUnsafeBytes(of: address) { [UInt8]($0) }
  }

  private static func connect(
    _ descriptor: consuming OwnedFD, _ address: [UInt8], _ port: UInt16, _ limit: Duration, _ exits: ExitWatcher
  ) async throws -> OwnedFD {
    let subject = "port \(port) of localhost"
    let failed = descriptor.withRawDescriptor { raw in
      address.withUnsafeBytes { bytes in
        bytes.withMemoryRebound(to: sockaddr.self) {
          Glibc.connect(raw, $0.baseAddress, socklen_t(bytes.count)) == 0 ? 0 : errno
        }
      }
    }
    if failed == 0 { return descriptor }
    guard failed == EINPROGRESS || failed == EINTR else {
      throw SystemCallError(call: "connect", errno: Errno(rawValue: failed), subject: subject)
    }
    do {
      try await exits.readiness(of: descriptor, for: .output, within: limit)
    } catch let error as SystemCallError {
      throw SystemCallError(call: "connect", errno: error.errno, subject: subject)
    }
    let raw = descriptor.withRawDescriptor { $0 }
    var error: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    try checked("getsockopt", subject) { getsockopt(raw, SOL_SOCKET, SO_ERROR, &error, &size) }
    guard error == 0 else { throw SystemCallError(call: "connect", errno: Errno(rawValue: error), subject: subject) }
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
