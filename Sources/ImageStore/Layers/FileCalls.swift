import CLinux
import Glibc
import LinuxSystem

extension SharedFD {
  /// Takes over a descriptor that is nobody else's, close-on-exec already.
  convenience init(owning raw: Int32) { self.init(OwnedFD(owning: raw)) }

  /// Lends the number and keeps the file open for the time of `body`.
  func use<R>(_ body: (Int32) -> R) -> R {
    withExtendedLifetime(self) { body(raw) }
  }
}

extension ImageError {
  /// A failed system call, in words: what was done, to what, and why not.
  static func call(_ call: String, _ subject: String, _ number: Int32) -> ImageError {
    let reason = String(cString: strerror(number))
    let kind: Kind = [ENOSPC, EDQUOT, EROFS].contains(number) ? .noSpace : .system
    return ImageError(kind, "\(call) \(subject): \(reason.lowercased())")
  }
}

/// Calls `body` with `bytes` and a NUL behind them. `bytes` holds no NUL: entry names and digests are checked for it.
func withCString<R>(_ bytes: some Collection<UInt8>, _ body: (UnsafePointer<CChar>) -> R) -> R {
  var text = bytes.map { CChar(bitPattern: $0) }
  text.append(0)
  return text.withUnsafeBufferPointer { buffer in
    guard let start = buffer.baseAddress else { return body("") }
    return body(start)
  }
}

extension Resolve {
  /// For paths of our own making: nothing but directories on the way.
  static let plain: Resolve = [.beneath, .noLinks, .noMagicLinks, .noMounts]
}

/// openat2(2).
///
/// - Returns: the open file, or the errno.
func openAt(
  _ directory: SharedFD, _ path: some Collection<UInt8>, _ flags: Int32, mode: UInt32 = 0,
  resolve: Resolve = .plain
) -> Result<SharedFD, Failure> {
  let name: any Collection<UInt8> = path.isEmpty ? Array(".".utf8) : path
  let descriptor = withCString(Array(name)) {
    clinux_host_openat2(directory.raw, $0, UInt64(UInt32(bitPattern: flags)), UInt64(mode), resolve.rawValue)
  }
  return descriptor < 0 ? .failure(Failure(errno: -descriptor)) : .success(SharedFD(owning: descriptor))
}

/// An errno where the caller decides what it means.
struct Failure: Error, Equatable {
  let errno: Int32
}

/// Opens a directory by an absolute path of the daemon's own configuration, never one that an image chose.
func openTrustedDirectory(_ path: String) throws(ImageError) -> SharedFD {
  let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
  guard descriptor >= 0 else { throw ImageError.call("open", path, errno) }
  return SharedFD(owning: descriptor)
}

/// fstatat(2) without following a link.
///
/// - Returns: nil when there is no such entry.
func status(_ name: some Collection<UInt8>, in directory: SharedFD) throws(ImageError) -> stat? {
  var status = stat()
  let (code, number) = withCString(name) { (fstatat(directory.raw, $0, &status, AT_SYMLINK_NOFOLLOW), errno) }
  if code == 0 { return status }
  if number == ENOENT { return nil }
  if number == ENAMETOOLONG { throw ImageError(.malformed, "the name \(printable(name)) is longer than 255 bytes") }
  throw ImageError.call("stat", printable(name), number)
}

/// fstat(2).
func status(of file: SharedFD) throws(ImageError) -> stat {
  var status = stat()
  guard fstat(file.raw, &status) == 0 else { throw ImageError.call("stat", "an open file", errno) }
  return status
}

/// Opens for reading what an O_PATH descriptor stands for: a regular file, as the caller has seen by fstat(2), so that
/// nothing waits and no device is touched. The way leads through our own descriptor and no name.
func reopenFile(_ pathFile: SharedFD) throws(ImageError) -> SharedFD {
  let descriptor = open("/proc/self/fd/\(pathFile.raw)", O_RDONLY | O_NONBLOCK | O_CLOEXEC)
  guard descriptor >= 0 else { throw ImageError.call("open", "a file of a lower layer", errno) }
  let file = SharedFD(owning: descriptor)
  guard try status(of: file).isRegular else { throw ImageError(.malformed, "a file of a lower layer is not one") }
  return file
}

/// Calls back with what a regular file holds, in ascending order; holes are left out (lseek(2) SEEK_DATA): a file of
/// some bytes can say that it has any size.
///
/// - Returns: the file's size.
func readExtents(
  of file: SharedFD, _ body: (UnsafeRawBufferPointer, Int64) throws -> Void
) throws -> Int64 {
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 4_096)
  defer { buffer.deallocate() }
  var offset = 0
  while true {
    let start = lseek(file.raw, offset, 3 /* SEEK_DATA */)
    if start < 0, errno == ENXIO { return Int64(try status(of: file).st_size) }
    let end = start < 0 ? start : lseek(file.raw, start, 4 /* SEEK_HOLE */)
    guard end >= 0 else { throw ImageError.call("seek in", "a file of a layer", errno) }
    offset = start
    while offset < end {
      let count = pread(file.raw, buffer.baseAddress, min(buffer.count, end - offset), offset)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ImageError.call("read", "a file of a layer", count == 0 ? EIO : errno) }
      try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]), Int64(offset))
      offset += count
    }
  }
}

/// readlinkat(2).
func linkTarget(_ name: some Collection<UInt8>, in directory: SharedFD) throws(ImageError) -> [UInt8] {
  var target = [CChar](repeating: 0, count: 4_097)
  let (count, number) = withCString(name) { (readlinkat(directory.raw, $0, &target, target.count), errno) }
  guard count >= 0 else { throw ImageError.call("readlink", printable(name), number) }
  return target[..<count].map { UInt8(bitPattern: $0) }
}

/// A name from an image in an error text: quoted, without control characters, cut.
func printable(_ name: some Collection<UInt8>) -> String {
  var text = "\""
  for scalar in String(decoding: name.prefix(256), as: UTF8.self).unicodeScalars {
    if scalar.value < 0x20 || scalar.value == 0x7f {
      text += "\\u{\(String(scalar.value, radix: 16))}"
    } else {
      text.unicodeScalars.append(scalar)
    }
  }
  return text + (name.count > 256 ? "…\"" : "\"")
}

extension stat {
  var kind: UInt32 { st_mode & S_IFMT }
  var isDirectory: Bool { kind == S_IFDIR }
  var isRegular: Bool { kind == S_IFREG }
  var isSymlink: Bool { kind == S_IFLNK }
  /// A character device 0:0 hides the name in the layers below (kernel, overlayfs.rst, "whiteouts").
  var isWhiteout: Bool { kind == S_IFCHR && st_rdev == 0 }
}
