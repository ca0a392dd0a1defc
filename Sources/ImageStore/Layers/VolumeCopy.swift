import CLinux
import Glibc
import LinuxSystem

/// Copies what an image has in one of its directories into a directory of the node's: the first content of a `VOLUME`.
///
/// Every path is resolved by the kernel inside the image (ATTACKS D05): a link that points up or is absolute ends at the
/// image's root, and what is not there is an empty volume. A device node is copied as the layer
/// has it: what may be opened is the container's device cgroup's matter, there as in its root. Sockets are left out.
struct VolumeCopy {
  /// The image's root, as one tree; read-only.
  let image: SharedFD
  let limits: ImageLimits
  /// Asked before each file and now and then within one: throws what ends the copy.
  var check: @Sendable () throws -> Void = {}

  private struct Inode: Hashable {
    var device: UInt64
    var number: UInt64
  }

  /// Where a copy has got to.
  private struct Progress {
    /// Directories whose content is still to be copied.
    var pending: [EntryPath] = [.root]
    /// Directories that were made, with the times that they get when all is in them.
    var made: [(path: EntryPath, times: EntryTimes)] = []
    /// Where a file with further names was copied to.
    var linked: [Inode: EntryPath] = [:]
    /// Bytes since the disk's free space was looked at.
    var unchecked: UInt64 = 0
    /// Bytes of the paths that are kept here.
    var pathBytes = 0

    mutating func keep(_ path: EntryPath, _ limits: ImageLimits) throws(ImageError) {
      pathBytes += path.bytes.count
      guard pathBytes <= limits.pathBytes else {
        throw ImageError(
          .limit, "the names of a VOLUME's directories are longer than \(limits.pathBytes) bytes together")
      }
    }
  }

  /// - Parameters:
  ///   - path: of the directory in the image; links in it are followed.
  ///   - target: empty; gets owner and mode of that directory, too.
  /// - Throws: ``ImageError``: `malformed` when the image has no directory there but something else.
  func copy(_ path: String, to target: SharedFD) throws {
    let flags = OpenFlag.path | O_DIRECTORY
    let place = path.utf8.drop { $0 == UInt8(ascii: "/") }
    let source: SharedFD
    switch openAt(image, place, flags, resolve: [.inRoot, .noMagicLinks]) {
    case .success(let found): source = found
    case .failure(let failure) where failure.errno == ENOENT: return
    case .failure(let failure) where failure.errno == ENOTDIR || failure.errno == ELOOP:
      throw ImageError(.malformed, "VOLUME \(printable(path.utf8)) is no directory of the image")
    case .failure(let failure): throw ImageError.call("open", "VOLUME \(printable(path.utf8))", failure.errno)
    }
    var progress = Progress()
    while let next = progress.pending.popLast() {
      try copyDirectory(next, from: source, to: target, &progress)
    }
    for directory in progress.made.reversed() {
      let file = try opened(directory.path, in: target, O_RDONLY | O_DIRECTORY)
      try directory.times.apply(to: file, path: directory.path)
    }
  }

  private func opened(_ path: EntryPath, in root: SharedFD, _ flags: Int32) throws -> SharedFD {
    switch openAt(root, path.bytes, flags) {
    case .success(let file): return file
    case .failure(let failure): throw ImageError.call("open", printable(path.bytes), failure.errno)
    }
  }

  private func copyDirectory(
    _ path: EntryPath, from source: SharedFD, to target: SharedFD, _ progress: inout Progress
  ) throws {
    let from = try opened(path, in: source, O_RDONLY | O_DIRECTORY)
    let to = try opened(path, in: target, O_RDONLY | O_DIRECTORY)
    let found = try status(of: from)
    var attributes = EntryAttributes(found)
    attributes.extended = try copiedAttributes(ofOpen: from)
    try attributes.apply(to: to, path: path)
    progress.made.append((path, EntryTimes(accessed: found.st_atim, modified: found.st_mtim)))
    guard progress.made.count <= limits.directories else {
      throw ImageError(.limit, "a VOLUME with more than \(limits.directories) directories")
    }
    try forEachEntry(of: from) { name in
      try check()
      guard let found = try status(name, in: from) else { return }
      let inner = path.appending(name)
      switch found.kind {
      case S_IFDIR:
        let made = withCString(name) { mkdirat(to.raw, $0, 0o700) == 0 ? 0 : errno }
        guard made == 0 else { throw ImageError.call("mkdir", printable(inner.bytes), made) }
        try progress.keep(inner, limits)
        progress.pending.append(inner)
      case S_IFREG: try copyFile(name, inner, found, from: from, to: to, target, &progress)
      case S_IFLNK: try copySymlink(name, found, from: from, to: to)
      case S_IFIFO, S_IFCHR, S_IFBLK: try copyNode(name, found, to: to)
      default: break
      }
    }
  }

  private func copyFile(
    _ name: [UInt8], _ path: EntryPath, _ found: stat, from: SharedFD, to: SharedFD, _ target: SharedFD,
    _ progress: inout Progress
  ) throws {
    let inode = Inode(device: UInt64(found.st_dev), number: UInt64(found.st_ino))
    if found.st_nlink > 1, let first = progress.linked[inode] {
      let parent = try opened(first.parent, in: target, O_RDONLY | O_DIRECTORY)
      let code = withCString(first.name) { old in
        withCString(name) { linkat(parent.raw, old, to.raw, $0, 0) == 0 ? 0 : errno }
      }
      guard code == 0 else { throw ImageError.call("link", printable(path.bytes), code) }
      return
    }
    let flags = OpenFlag.path | O_NOFOLLOW
    guard case .success(let seen) = openAt(from, name, flags) else {
      throw ImageError.call("open", printable(path.bytes), EIO)
    }
    let file = try reopenFile(seen)
    guard case .success(let copy) = openAt(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600) else {
      throw ImageError.call("create", printable(path.bytes), EIO)
    }
    try copyContent(of: file, to: copy, path, &progress)
    var attributes = EntryAttributes(found)
    attributes.extended = try copiedAttributes(ofOpen: file)
    try attributes.apply(to: copy, path: path)
    try EntryTimes(accessed: found.st_atim, modified: found.st_mtim).apply(to: copy, path: path)
    if found.st_nlink > 1 {
      try progress.keep(path, limits)
      progress.linked[inode] = path
    }
  }

  private func copyContent(
    of file: SharedFD, to copy: SharedFD, _ path: EntryPath, _ progress: inout Progress
  ) throws {
    let length = try readExtents(of: file) { bytes, offset in
      try check()
      var done = 0
      while done < bytes.count {
        let count = pwrite(copy.raw, bytes.baseAddress.map { $0 + done }, bytes.count - done, Int(offset) + done)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw ImageError.call("write", printable(path.bytes), count == 0 ? ENOSPC : errno) }
        done += count
      }
      progress.unchecked += UInt64(done)
      if progress.unchecked >= 64 << 20 {
        progress.unchecked = 0
        try requireSpace(limits.reserveBytes, at: copy)
      }
    }
    guard ftruncate(copy.raw, Int(length)) == 0 else { throw ImageError.call("truncate", printable(path.bytes), errno) }
  }

  private func copySymlink(_ name: [UInt8], _ found: stat, from: SharedFD, to: SharedFD) throws {
    let target = try linkTarget(name, in: from)
    let code = withCString(target) { text in
      withCString(name) { symlinkat(text, to.raw, $0) == 0 ? 0 : errno }
    }
    guard code == 0 else { throw ImageError.call("symlink", printable(name), code) }
    try EntryAttributes(found).apply(to: name, in: to, isSymlink: true)
    try EntryTimes(accessed: found.st_atim, modified: found.st_mtim).apply(to: name, in: to)
  }

  private func copyNode(_ name: [UInt8], _ found: stat, to: SharedFD) throws {
    let code = withCString(name) { mknodat(to.raw, $0, found.kind | 0o600, found.st_rdev) == 0 ? 0 : errno }
    guard code == 0 else { throw ImageError.call("mknod", printable(name), code) }
    try EntryAttributes(found).apply(to: name, in: to, isSymlink: false)
    try EntryTimes(accessed: found.st_atim, modified: found.st_mtim).apply(to: name, in: to)
  }
}

extension EntryAttributes {
  /// Of something that is there, without its extended attributes.
  fileprivate init(_ found: stat) {
    self.init(uid: found.st_uid, gid: found.st_gid, mode: found.st_mode & 0o7777)
  }
}
