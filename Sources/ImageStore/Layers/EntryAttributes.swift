import CLinux
import Glibc
import LinuxSystem

/// Overlay's mark for a directory that hides what lies below it (kernel, overlayfs.rst, "whiteouts and opaque
/// directories").
let overlayOpaque = "trusted.overlay.opaque"

/// Access and change time of an entry.
struct EntryTimes {
  var accessed: timespec
  var modified: timespec

  init(accessed: timespec, modified: timespec) {
    self.accessed = accessed
    self.modified = modified
  }

  /// Times an archive gives; a missing one is left as it is, an impossible one is clamped to what ext4 holds.
  init(_ entry: TarEntry) {
    modified = Self.clamped(entry.modified)
    accessed = entry.accessed == nil ? modified : Self.clamped(entry.accessed)
  }

  private static func clamped(_ time: TarEntry.Time?) -> timespec {
    guard let time else { return timespec(tv_sec: 0, tv_nsec: (1 << 30) - 2) }  // UTIME_OMIT
    let seconds = min(max(time.seconds, -(1 << 31)), (1 << 33) + (1 << 32))
    return timespec(tv_sec: Int(seconds), tv_nsec: Int(min(max(time.nanoseconds, 0), 999_999_999)))
  }

  /// futimens(2).
  func apply(to file: SharedFD, path: EntryPath) throws(ImageError) {
    let code = withUnsafePointer(to: (accessed, modified)) { pair in
      pair.withMemoryRebound(to: timespec.self, capacity: 2) { futimens(file.raw, $0) == 0 ? 0 : errno }
    }
    guard code == 0 else { throw ImageError.call("set times of", printable(path.bytes), code) }
  }

  /// utimensat(2) on the entry itself, be it a link.
  func apply(to name: some Collection<UInt8>, in directory: SharedFD) throws(ImageError) {
    let code = withUnsafePointer(to: (accessed, modified)) { pair in
      pair.withMemoryRebound(to: timespec.self, capacity: 2) { times in
        withCString(name) { utimensat(directory.raw, $0, times, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno }
      }
    }
    guard code == 0 else { throw ImageError.call("set times of", printable(name), code) }
  }
}

/// Owner, mode and extended attributes of an entry.
struct EntryAttributes {
  var uid: uid_t
  var gid: gid_t
  var mode: UInt32
  var extended: [(name: String, value: [UInt8])] = []

  init(uid: uid_t, gid: gid_t, mode: UInt32) {
    self.uid = uid
    self.gid = gid
    self.mode = mode
  }

  /// - Throws: ``ImageError`` of kind `malformed` for an owner that cannot be one.
  init(_ entry: TarEntry) throws(ImageError) {
    // The highest number means "no change" to chown(2).
    let owners: ClosedRange<Int64> = 0...Int64(UInt32.max) - 1
    guard owners.contains(entry.uid), owners.contains(entry.gid) else {
      throw ImageError(.malformed, "\(printable(entry.name)) belongs to \(entry.uid):\(entry.gid)")
    }
    self.init(uid: uid_t(entry.uid), gid: gid_t(entry.gid), mode: entry.mode)
    extended = entry.attributes.filter { isWanted($0.name) }
  }

  /// On an open file or directory. The order matters: fchown(2) clears setuid, setgid and `security.capability`.
  func apply(to file: SharedFD, path: EntryPath) throws(ImageError) {
    guard fchown(file.raw, uid, gid) == 0 else { throw ImageError.call("chown", printable(path.bytes), errno) }
    for attribute in extended {
      try setAttribute(attribute.name, attribute.value, of: file, path: path)
    }
    guard fchmod(file.raw, mode_t(mode)) == 0 else { throw ImageError.call("chmod", printable(path.bytes), errno) }
  }

  /// On a link or a special file, which must not be opened. Such have no attributes that an image may set.
  func apply(to name: some Collection<UInt8>, in directory: SharedFD, isSymlink: Bool) throws(ImageError) {
    let owned = withCString(name) { fchownat(directory.raw, $0, uid, gid, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno }
    guard owned == 0 else { throw ImageError.call("chown", printable(name), owned) }
    if isSymlink { return }
    let changed = withCString(name) {
      fchmodat(directory.raw, $0, mode_t(mode), AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno
    }
    guard changed == 0 else { throw ImageError.call("chmod", printable(name), changed) }
  }
}

/// Attributes that an image may set: none that steers overlayfs or a security module of the node.
func isWanted(_ name: String) -> Bool {
  if name.hasPrefix("trusted.overlay.") || name.hasPrefix("user.overlay.") { return false }
  return name == "security.capability" || name.hasPrefix("user.") || name.hasPrefix("trusted.")
}

/// fsetxattr(2). A filesystem that has no such attributes, and `user.` ones where they may not be, are passed over.
func setAttribute(_ name: String, _ value: [UInt8], of file: SharedFD, path: EntryPath) throws(ImageError) {
  let code = value.withUnsafeBytes { clinux_fs_fsetxattr(file.raw, name, $0.baseAddress, $0.count) }
  if code == 0 { return }
  let isOverlay = name.hasPrefix("trusted.overlay.")
  if -code == EOPNOTSUPP, !isOverlay { return }
  if -code == EPERM, name.hasPrefix("user.") { return }
  throw ImageError.call("set attribute \(printable(name.utf8)) of", printable(path.bytes), -code)
}

/// The attributes of a directory in the layers below, without overlay's own.
func copiedAttributes(of pathFile: SharedFD) throws(ImageError) -> [(name: String, value: [UInt8])] {
  // Attributes cannot be read through O_PATH; this is a directory of ours, opened again by itself.
  guard case .success(let file) = openAt(pathFile, Array(".".utf8), O_RDONLY | O_DIRECTORY) else { return [] }
  return try copiedAttributes(ofOpen: file)
}

/// The attributes of a file or directory in the layers below, without overlay's own.
func copiedAttributes(ofOpen file: SharedFD) throws(ImageError) -> [(name: String, value: [UInt8])] {
  var list = [CChar](repeating: 0, count: 64 << 10)
  let length = clinux_fs_flistxattr(file.raw, &list, list.count)
  guard length > 0 else { return [] }
  var result: [(name: String, value: [UInt8])] = []
  for bytes in list[..<length].split(separator: 0) {
    let name = String(decoding: bytes.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard isWanted(name) else { continue }
    var value = [UInt8](repeating: 0, count: 64 << 10)
    let count = clinux_fs_fgetxattr(file.raw, name, &value, value.count)
    guard count >= 0 else {
      throw ImageError.call("get attribute \(printable(name.utf8)) of", "a lower layer", Int32(-count))
    }
    result.append((name, Array(value[..<count])))
  }
  return result
}
