import Glibc
import RuntimeModel

/// The file of the daemon's Unix socket.
enum SocketFile {
  /// Makes way for a new socket: one that nobody serves any more is removed.
  /// - Throws: `failedPrecondition` when a live daemon serves it, or the path is no socket.
  static func prepare(_ path: String) throws(RuntimeError) {
    guard path.hasPrefix("/"), path.utf8.count <= 107 else {
      throw RuntimeError(.invalidArgument, "--socket \(path): must be absolute and at most 107 bytes (unix(7))")
    }
    var status = stat()
    guard lstat(path, &status) == 0 else {
      makeParents(of: path)
      return
    }
    guard status.st_mode & S_IFMT == S_IFSOCK else {
      throw RuntimeError(.failedPrecondition, "--socket \(path): exists and is not a socket")
    }
    guard !isServed(path) else {
      throw RuntimeError(.failedPrecondition, "--socket \(path): already served by a live daemon")
    }
    unlink(path)
  }

  /// Root's alone: who can connect owns the node.
  static func close(_ path: String) throws(RuntimeError) {
    guard chmod(path, 0o600) == 0 else {
      throw RuntimeError(.internalError, "chmod 0600 \(path): \(String(cString: strerror(errno)))")
    }
  }

  private static func makeParents(of path: String) {
    var directory = ""
    for part in path.split(separator: "/").dropLast() {
      directory += "/" + part
      mkdir(directory, 0o755)
    }
  }

  private static func isServed(_ path: String) -> Bool {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { Glibc.close(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    } == 0
  }
}
