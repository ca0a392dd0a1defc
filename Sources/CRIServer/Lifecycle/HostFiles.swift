import Glibc
import LinuxSystem
import RuntimeModel

/// Small files of ours on the node: below our own 0700 directories, and the node's /etc for reading. Never a path into a
/// container's root.
enum HostFiles {
  static func makeDirectory(_ path: String, mode: mode_t) throws(RuntimeError) {
    if mkdir(path, mode) != 0 && errno != EEXIST { throw failure("mkdir", path) }
    // The daemon's umask is 077.
    if chmod(path, mode) != 0 { throw failure("chmod", path) }
  }

  static func write(_ text: String, to path: String, mode: mode_t) throws(RuntimeError) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)
    guard descriptor >= 0 else { throw failure("open", path) }
    defer { close(descriptor) }
    guard fchmod(descriptor, mode) == 0 else { throw failure("chmod", path) }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if written < 0 && errno == EINTR { continue }
      guard written > 0 else { throw failure("write", path) }
      bytes = bytes.dropFirst(written)
    }
  }

  /// Writes a file whole or not at all.
  static func replace(_ text: String, at path: String, mode: mode_t) throws(RuntimeError) {
    let fresh = path + ".new"
    try write(text, to: fresh, mode: mode)
    guard rename(fresh, path) == 0 else { throw failure("rename", path) }
  }

  /// - Returns: nil when there is no such file; at most `limit` bytes.
  static func read(_ path: String, limit: Int = 1 << 20) throws(RuntimeError) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { return nil }
      throw failure("open", path)
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16384)
    while bytes.count < limit {
      let count = buffer.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw failure("read", path) }
      if count == 0 { break }
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Inode number of what a path leads to; nil when there is nothing.
  static func inode(_ path: String) -> UInt64? {
    var status = stat()
    return stat(path, &status) == 0 ? UInt64(status.st_ino) : nil
  }

  /// Removes a directory of ours with the files and empty directories in it; success when it does not exist.
  static func removeTree(_ path: String) throws(RuntimeError) {
    for name in fileNames(path) {
      let child = path + "/" + name
      if unlink(child) != 0 {
        guard errno == EISDIR || errno == EPERM else {
          if errno == ENOENT { continue }
          throw failure("unlink", child)
        }
        if rmdir(child) != 0 && errno != ENOENT { throw failure("rmdir", child) }
      }
    }
    if rmdir(path) != 0 && errno != ENOENT { throw failure("rmdir", path) }
  }

  private static func failure(_ call: String, _ path: String) -> RuntimeError {
    let number = errno
    let code: RuntimeError.Code = [ENOSPC, EDQUOT, EROFS].contains(number) ? .resourceExhausted : .internalError
    return RuntimeError(code, "\(call) \(path): \(String(cString: strerror(number)))")
  }
}
