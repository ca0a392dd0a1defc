import Glibc
import LinuxSystem

/// The store's directories, all private to the daemon:
///
///     layers/<chain id>/{diff,layer.json}    unpacked, in overlay's form
///     images/<config digest>.json            one record an image
///     snapshots/<key>/{fs,work,volumes,snapshot.json}
///     empty/                                 always empty: the second layer of an image that has one
///     tmp/                                   what is being made or removed; emptied at start
///
/// What has its final name is complete: it was made in `tmp` and renamed.
struct StoreDirectory: Sendable {
  let root: String
  let temporary: SharedFD

  var layers: String { root + "/layers" }
  var images: String { root + "/images" }
  var snapshots: String { root + "/snapshots" }
  var empty: String { root + "/empty" }
  var temporaryPath: String { root + "/tmp" }

  func layer(_ chain: ContentDigest) -> String { "\(layers)/\(chain.hex)" }
  func diff(_ chain: ContentDigest) -> String { layer(chain) + "/diff" }
  func record(_ id: ContentDigest) -> String { "\(images)/\(id.hex).json" }

  init(root: String) throws(ImageError) {
    self.root = root
    do {
      for directory in ["", "/layers", "/images", "/snapshots", "/empty", "/tmp"] {
        try PrivateDirectory.make(root + directory)
      }
    } catch {
      throw ImageError(.system, "image store: \(error)")
    }
    temporary = try openTrustedDirectory(root + "/tmp")
  }

  /// A name in `tmp` that nobody has.
  func temporaryName(_ kind: String) -> String {
    "\(temporaryPath)/\(kind)-\(String(UInt64.random(in: .min ... .max), radix: 16))"
  }

  /// Gives up what has a final name: it is no longer there afterwards.
  ///
  /// - Returns: where it waits for its removal; nil when there is none.
  func setAside(_ path: String) throws(ImageError) -> String? {
    let aside = temporaryName("gone")
    if rename(path, aside) == 0 { return aside }
    if errno == ENOENT { return nil }
    throw ImageError.call("rename", path, errno)
  }

  /// Removes something below `tmp`, whatever it is.
  func discard(_ path: String, cancellation: CancellationFlag? = nil) throws {
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    let name = path.utf8[(slash.map(path.utf8.index(after:)) ?? path.startIndex)...]
    var removal = TreeRemoval(scratch: temporary, cancellation: cancellation)
    try removal.remove(Array(name), in: temporary)
  }
}

/// Replaces a file so that a crash leaves the old or the new one, whole.
func writeDurably(_ bytes: [UInt8], to path: String, by temporary: String) throws(ImageError) {
  try writePrivately(bytes, to: temporary, synced: true)
  guard rename(temporary, path) == 0 else {
    let number = errno
    unlink(temporary)
    throw ImageError.call("rename", path, number)
  }
  try syncDirectory(of: path)
}

/// Writes a new file of mode 0600.
func writePrivately(_ bytes: [UInt8], to path: String, synced: Bool) throws(ImageError) {
  let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
  guard descriptor >= 0 else { throw ImageError.call("create", path, errno) }
  let file = SharedFD(owning: descriptor)
  let failed: Int32 = file.use { raw in
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { write(raw, $0.baseAddress.map { $0 + done }, bytes.count - done) }
      if count < 0, errno == EINTR { continue }
      if count <= 0 { return count == 0 ? ENOSPC : errno }
      done += count
    }
    return synced && fsync(raw) != 0 ? errno : 0
  }
  guard failed == 0 else {
    unlink(path)
    throw ImageError.call("write", path, failed)
  }
}

/// Makes renames and removals in the directory of `path` survive a power loss.
func syncDirectory(of path: String) throws(ImageError) {
  let directory = try openTrustedDirectory(String(path[..<(path.lastIndex(of: "/") ?? path.endIndex)]))
  let failed = directory.use { fsync($0) == 0 ? 0 : errno }
  guard failed == 0 else { throw ImageError.call("sync the directory of", path, failed) }
}

/// Reads a file of the store, at most `limit` bytes.
func readStoreFile(_ path: String, limit: Int) throws(ImageError) -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
  guard descriptor >= 0 else { throw ImageError.call("open", path, errno) }
  let file = SharedFD(owning: descriptor)
  let status = try status(of: file)
  guard status.isRegular, status.st_size <= limit else {
    throw ImageError(.limit, "\(path) is not a file of at most \(limit) bytes")
  }
  var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
  var done = 0
  while done < bytes.count {
    let count = bytes.withUnsafeMutableBytes { buffer in
      file.use { read($0, buffer.baseAddress.map { $0 + done }, buffer.count - done) }
    }
    if count < 0, errno == EINTR { continue }
    guard count > 0 else { throw ImageError.call("read", path, count == 0 ? EIO : errno) }
    done += count
  }
  return bytes
}

/// A file below `tmp` that goes with its last user.
final class TemporaryFile: Sendable {
  let path: String

  init(_ path: String) { self.path = path }

  deinit { unlink(path) }

  /// Opens it for reading from its beginning.
  func open() throws(ImageError) -> SharedFD {
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard descriptor >= 0 else { throw ImageError.call("open", path, errno) }
    return SharedFD(owning: descriptor)
  }
}
