import Glibc

/// The sockets between the daemon and a shim. All are Unix stream sockets, close-on-exec.
package enum ShimSocket {
  /// A connected pair: one end for ``ShimClient/adopt(connected:)``, one for the shim's descriptor 3.
  /// - Throws: ``ConnectionEnd/failed(call:errno:)``. The caller owns both descriptors.
  package static func pair() throws(ConnectionEnd) -> (daemon: Int32, shim: Int32) {
    var ends: (Int32, Int32) = (-1, -1)
    let result = withUnsafeMutableBytes(of: &ends) {
      socketpair(AF_UNIX, streamType, 0, $0.assumingMemoryBound(to: Int32.self).baseAddress)
    }
    guard result == 0 else { throw .failed(call: "socketpair", errno: errno) }
    return (ends.0, ends.1)
  }

  /// A listening socket at `path` with mode 0600, for the shim's descriptor 4. The caller owns the descriptor.
  /// - Throws: ``ConnectionEnd/failed(call:errno:)``; EADDRINUSE when something is at the path already.
  package static func listen(path: String) throws(ConnectionEnd) -> Int32 {
    let descriptor = try unconnected()
    do throws(ConnectionEnd) {
      // The mode that a socket has before bind is the one its file gets (less the umask), so there is never a moment
      // at which others could connect.
      guard fchmod(descriptor, 0o600) == 0 else { throw .failed(call: "fchmod", errno: errno) }
      try withAddress(path) { (address, length) throws(ConnectionEnd) in
        guard bind(descriptor, address, length) == 0 else { throw .failed(call: "bind \(path)", errno: errno) }
      }
      guard Glibc.listen(descriptor, 64) == 0 else { throw .failed(call: "listen \(path)", errno: errno) }
    } catch {
      Glibc.close(descriptor)
      throw error
    }
    return descriptor
  }

  /// Connects without ever blocking.
  /// - Returns: nil when the shim's queue of connections is full and it must be tried again.
  static func connect(path: String) throws(ConnectionEnd) -> Int32? {
    let descriptor = try unconnected()
    do throws(ConnectionEnd) {
      return try withAddress(path) { (address, length) throws(ConnectionEnd) -> Int32? in
        while Glibc.connect(descriptor, address, length) != 0 {
          switch errno {
          case EINTR: continue
          case EAGAIN:
            Glibc.close(descriptor)
            return nil
          default: throw .failed(call: "connect \(path)", errno: errno)
          }
        }
        return descriptor
      }
    } catch {
      Glibc.close(descriptor)
      throw error
    }
  }

  /// Sends what the kernel takes now of `bytes` from `offset`, `passing` beside the first of them.
  /// - Returns: how many bytes went; nil when the kernel takes none now.
  static func send(
    _ bytes: [UInt8], from offset: Int, passing: [Int32], on descriptor: Int32
  ) throws(ConnectionEnd) -> Int? {
    let sent = bytes.withUnsafeBytes { raw in
      var piece = iovec(
        iov_base: UnsafeMutableRawPointer(mutating: raw.baseAddress)?.advanced(by: offset), iov_len: raw.count - offset)
      return withUnsafeMutablePointer(to: &piece) { piece in
        var message = msghdr()
        message.msg_iov = piece
        message.msg_iovlen = 1
        guard !passing.isEmpty else { return retried { sendmsg(descriptor, &message, sendFlags) } }
        var control = RightsMessage(passing)
        let size = control.size
        return withUnsafeMutableBytes(of: &control) { control in
          message.msg_control = control.baseAddress
          message.msg_controllen = size
          return retried { sendmsg(descriptor, &message, sendFlags) }
        }
      }
    }
    if sent >= 0 { return sent }
    if errno == EAGAIN { return nil }
    throw .failed(call: "sendmsg", errno: errno)
  }

  /// Receives what is there, into `buffer`.
  /// - Returns: how many bytes came, 0 at the end of the connection; nil when there is nothing now.
  static func receive(
    into buffer: UnsafeMutableRawBufferPointer, on descriptor: Int32
  ) throws(ConnectionEnd) -> Int? {
    let count = retried { recv(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT)) }
    if count >= 0 { return count }
    if errno == EAGAIN { return nil }
    throw .failed(call: "recv", errno: errno)
  }

  private static var sendFlags: Int32 { Int32(MSG_DONTWAIT | MSG_NOSIGNAL) }
  private static var streamType: Int32 { Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue) }

  private static func retried(_ call: () -> Int) -> Int {
    while true {
      let result = call()
      if result >= 0 || errno != EINTR { return result }
    }
  }

  private static func unconnected() throws(ConnectionEnd) -> Int32 {
    let descriptor = socket(AF_UNIX, streamType | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard descriptor >= 0 else { throw .failed(call: "socket", errno: errno) }
    return descriptor
  }

  /// A path may be longer than the 107 bytes that fit into an address (unix(7)); its directory is then named by a
  /// descriptor.
  private static func withAddress<Value>(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) throws(ConnectionEnd) -> Value
  ) throws(ConnectionEnd) -> Value {
    if path.utf8.count < MemoryLayout.size(ofValue: sockaddr_un().sun_path) { return try withShortAddress(path, body) }
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let directory = open(String(path[..<slash]), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard directory >= 0 else { throw .failed(call: "open \(path[..<slash])", errno: errno) }
    defer { close(directory) }
    return try withShortAddress("/proc/self/fd/\(directory)\(path[slash...])", body)
  }

  private static func withShortAddress<Value>(
    _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) throws(ConnectionEnd) -> Value
  ) throws(ConnectionEnd) -> Value {
    var address = sockaddr_un()
    let room = MemoryLayout.size(ofValue: address.sun_path)
    guard path.utf8.count < room else { throw .failed(call: "connect \(path)", errno: ENAMETOOLONG) }
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let result: Result<Value, ConnectionEnd> = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        do throws(ConnectionEnd) {
          return .success(try body(address, socklen_t(MemoryLayout<sockaddr_un>.size)))
        } catch {
          return .failure(error)
        }
      }
    }
    return try result.get()
  }
}

/// A control message that carries up to four descriptors, laid out as cmsg(3) has it on 64-bit Linux: the macros that
/// compute this are not visible to Swift.
private struct RightsMessage {
  private var length: Int
  private var level: Int32 = SOL_SOCKET
  private var type = Int32(SCM_RIGHTS)
  private var descriptors: (Int32, Int32, Int32, Int32) = (-1, -1, -1, -1)

  /// With the padding that comes after an odd number of descriptors.
  var size: Int { (length + 7) & ~7 }

  init(_ passing: [Int32]) {
    precondition(passing.count <= 4, "more descriptors than any call of a shim takes")
    length = MemoryLayout<cmsghdr>.size + passing.count * MemoryLayout<Int32>.size
    withUnsafeMutableBytes(of: &descriptors) { slots in
      passing.withUnsafeBytes { slots.copyMemory(from: $0) }
    }
  }
}
