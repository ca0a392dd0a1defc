import Foundation
import Glibc

/// Which socket to talk to, and who said so.
struct SocketChoice: Sendable, Equatable {
  var path: String
  /// For messages: `--socket`, the variable's name, or `the default`.
  var source: String

  static let defaultPath = "/run/swiftlet/swiftlet.sock"

  /// - Parameters:
  ///   - option: the value of `--socket`.
  ///   - environment: looks a variable up.
  /// - Throws: ``ClientError`` when the address has another scheme than `unix`, or none of a path.
  static func choose(
    option: String?, environment: (String) -> String?
  ) throws(ClientError) -> SocketChoice {
    if let option { return try SocketChoice(path: path(option, "--socket"), source: "--socket") }
    for name in ["SWIFTLET_SOCKET", "CONTAINER_RUNTIME_ENDPOINT"] {
      guard let value = environment(name), !value.isEmpty else { continue }
      return try SocketChoice(path: path(value, name), source: name)
    }
    return SocketChoice(path: defaultPath, source: "the default")
  }

  private static func path(_ address: String, _ source: String) throws(ClientError) -> String {
    var text = address
    if let separator = text.range(of: "://") {
      guard text[..<separator.lowerBound] == "unix" else {
        throw ClientError(
          .usage, "cannot use \(source) \"\(address)\"", why: "only Unix sockets are supported",
          remedy: "unix:///run/swiftlet/swiftlet.sock")
      }
      text = String(text[separator.upperBound...])
    } else if text.hasPrefix("unix:") {
      text = String(text.dropFirst(5))
    }
    guard text.hasPrefix("/") || (!text.isEmpty && source == "--socket") else {
      throw ClientError(
        .usage, "cannot use \(source) \"\(address)\"", why: "it is not an absolute path",
        remedy: "unix:///run/swiftlet/swiftlet.sock")
    }
    return text
  }

  /// Connects once, so that what is wrong with the socket is known by its errno and not by a gRPC timeout.
  ///
  /// - Throws: ``ClientError`` with the status `unreachable`.
  func probe() throws(ClientError) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let capacity = MemoryLayout.size(ofValue: address.sun_path)
    guard bytes.count < capacity else {
      throw unreachable("its path is longer than the \(capacity - 1) bytes that a socket's address may have", nil)
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw unreachable(String(cString: strerror(errno)), nil) }
    defer { close(descriptor) }
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard result != 0 else { return }
    switch errno {
    case ENOENT:
      throw unreachable("there is no such socket", "start the daemon (swiftletd), or name its socket by --socket")
    case ECONNREFUSED:
      throw unreachable("nobody listens on it", "start the daemon (swiftletd): the socket is a leftover")
    case EACCES, EPERM: throw unreachable("permission denied", "run as root")
    case let code: throw unreachable(String(cString: strerror(code)), nil)
    }
  }

  private func unreachable(_ why: String, _ remedy: String?) -> ClientError {
    ClientError(.unreachable, "cannot reach the runtime at \(path) (\(source))", why: why, remedy: remedy)
  }
}
