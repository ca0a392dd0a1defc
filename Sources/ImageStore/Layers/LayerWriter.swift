import CLinux
import Glibc
import LinuxSystem

/// What a layer takes on disk.
struct LayerSize: Codable, Hashable, Sendable {
  /// Data in blocks of 4096, and one block for each directory.
  var bytes: UInt64 = 0
  var inodes: UInt64 = 0
}

/// Writes the entries of one layer's tar into a directory of overlay's form (CRI.md 7.6).
///
/// Everything is created relative to an open directory with a name of one component and never through a link; nothing is
/// opened that this writer did not just create. The directory is private to it until it is finished.
struct LayerWriter {
  private(set) var tree: LayerTree
  private var removal: TreeRemoval
  private let limits: ImageLimits
  private(set) var size = LayerSize(bytes: 4_096, inodes: 1)
  /// Bytes written since the free space was looked at.
  private var unchecked: UInt64 = 0
  /// Bytes of lower layers' files that links have copied.
  private var copied: UInt64 = 0
  /// Throws what ends the work, when nobody wants it any more.
  private let check: () throws -> Void

  /// - Parameters:
  ///   - root: an empty directory of mode 0700's parent; becomes the layer.
  ///   - lower: the layers below as one tree; nil for the first.
  ///   - scratch: a private directory on the same filesystem.
  ///   - check: asked while a file of a lower layer is copied.
  init(
    root: SharedFD, lower: SharedFD?, scratch: SharedFD, limits: ImageLimits, check: @escaping () throws -> Void = {}
  ) throws(ImageError) {
    tree = LayerTree(root: root, lower: lower, limits: limits)
    removal = TreeRemoval(scratch: scratch)
    self.limits = limits
    self.check = check
    // Until the archive says something about its root it looks as the one below, or as everybody's.
    var attributes = EntryAttributes(uid: 0, gid: 0, mode: 0o755)
    if let lower {
      let below = try status(of: lower)
      attributes = EntryAttributes(uid: below.st_uid, gid: below.st_gid, mode: below.st_mode & 0o7777)
    }
    try attributes.apply(to: root, path: .root)
  }

  /// Writes one entry.
  ///
  /// - Parameter data: calls back with the entry's data.
  /// - Throws: ``ImageError``: `malformed` for what no image may hold, `limit`, `noSpace`, `system`; what `data` throws.
  mutating func apply(
    _ entry: TarEntry, data: ((UnsafeRawBufferPointer, Int64) throws -> Void) throws -> Void
  ) throws {
    let path = try EntryPath(cleaning: entry.name, limit: limits.nameBytes)
    if path.isRoot { return try applyRoot(entry) }
    switch try Whiteout(path) {
    case .ignored: return
    case .opaque(let directory): return try tree.makeOpaque(tree.directory(directory))
    case .name(let hidden): return try hide(hidden)
    case nil: break
    }
    let parent = try tree.directory(path.parent)
    switch entry.kind {
    case .directory: try makeDirectory(entry, path, in: parent)
    case .file: try makeFile(entry, path, in: parent, data: data)
    case .symlink: try makeSymlink(entry, path, in: parent)
    case .hardLink: try makeHardLink(entry, path, in: parent)
    case .fifo, .characterDevice, .blockDevice: try makeNode(entry, path, in: parent)
    }
  }

  /// Sets what only holds once nothing is added any more: the directories' times, and a hidden root.
  mutating func finish() throws {
    for (path, times) in tree.times {
      guard case .success(let file) = openAt(tree.root, path.bytes, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else {
        continue
      }
      try times.apply(to: file, path: path)
    }
    size.inodes += tree.implicit
    size.bytes += 4_096 * tree.implicit
    if tree.isRootOpaque { try hideRoot() }
  }

  private mutating func applyRoot(_ entry: TarEntry) throws {
    guard entry.kind == .directory else {
      throw ImageError(.malformed, "\(printable(entry.name)) is the image's root and not a directory")
    }
    try EntryAttributes(entry).apply(to: tree.root, path: .root)
    try tree.remember(.root, EntryTimes(entry))
  }
}

// MARK: - Kinds

extension LayerWriter {
  private mutating func makeDirectory(_ entry: TarEntry, _ path: EntryPath, in parent: LayerPlace) throws {
    let name = path.name
    let place = parent.path.appending(name)
    var replaces = false
    if let found = try status(name, in: parent.file), !found.isDirectory {
      try clear(place, in: parent, found)
      replaces = true
    }
    let made = withCString(name) { mkdirat(parent.file.raw, $0, 0o700) == 0 ? 0 : errno }
    guard made == 0 || made == EEXIST else { throw nameError("mkdir", path, made) }
    if made == 0 { count(blocks: 1) }
    let file = try openDirectory(name, in: parent.file)
    try EntryAttributes(entry).apply(to: file, path: path)
    try tree.remember(place, EntryTimes(entry))
    // What was removed by this layer and made again shows nothing of the old.
    if replaces { try tree.makeOpaque(LayerPlace(file: file, path: place)) }
  }

  private mutating func makeFile(
    _ entry: TarEntry, _ path: EntryPath, in parent: LayerPlace,
    data: ((UnsafeRawBufferPointer, Int64) throws -> Void) throws -> Void
  ) throws {
    guard entry.size >= 0, UInt64(entry.size) <= limits.expandedBytes else {
      throw ImageError(.limit, "\(printable(entry.name)) of \(entry.size) bytes")
    }
    let attributes = try EntryAttributes(entry)
    let file = try createFile(path, in: parent)
    var written: UInt64 = 0
    var end: Int64 = 0
    try data { bytes, offset in
      try writeAll(bytes, at: offset, to: file, path)
      written += UInt64(bytes.count)
      end = max(end, offset + Int64(bytes.count))
      try checkSpace(UInt64(bytes.count))
    }
    guard end <= entry.size else { throw ImageError(.malformed, "\(printable(entry.name)) holds more than it says") }
    if end < entry.size, ftruncate(file.raw, Int(entry.size)) != 0 {
      throw ImageError.call("truncate", printable(entry.name), errno)
    }
    try attributes.apply(to: file, path: path)
    try EntryTimes(entry).apply(to: file, path: path)
    count(blocks: (written + 4_095) / 4_096)
  }

  private mutating func makeSymlink(_ entry: TarEntry, _ path: EntryPath, in parent: LayerPlace) throws {
    guard !entry.target.isEmpty, entry.target.count < limits.nameBytes else {
      throw ImageError(.malformed, "\(printable(entry.name)) links to a name of \(entry.target.count) bytes")
    }
    let attributes = try EntryAttributes(entry)
    try create("symlink", path, in: parent) { name in
      withCString(entry.target) { symlinkat($0, parent.file.raw, name) == 0 ? 0 : errno }
    }
    try attributes.apply(to: path.name, in: parent.file, isSymlink: true)
    try EntryTimes(entry).apply(to: path.name, in: parent.file)
    count(blocks: 0)
  }

  private mutating func makeNode(_ entry: TarEntry, _ path: EntryPath, in parent: LayerPlace) throws {
    // dev_t holds 12 bits of major and 20 of minor number (linux/kdev_t.h); more would come out as another device.
    guard (0..<1 << 12).contains(entry.major), (0..<1 << 20).contains(entry.minor) else {
      throw ImageError(.malformed, "\(printable(entry.name)) is device \(entry.major):\(entry.minor)")
    }
    let attributes = try EntryAttributes(entry)
    let type: UInt32 =
      switch entry.kind {
      case .characterDevice: S_IFCHR
      case .blockDevice: S_IFBLK
      default: S_IFIFO
      }
    let isDevice = type != S_IFIFO
    try create("mknod", path, in: parent) { name in
      -clinux_fs_mknodat(
        parent.file.raw, name, type | 0o600, isDevice ? UInt32(entry.major) : 0, isDevice ? UInt32(entry.minor) : 0)
    }
    try attributes.apply(to: path.name, in: parent.file, isSymlink: false)
    try EntryTimes(entry).apply(to: path.name, in: parent.file)
    count(blocks: 0)
  }

  /// A link within this layer; a copy of what lies in a lower one.
  private mutating func makeHardLink(_ entry: TarEntry, _ path: EntryPath, in parent: LayerPlace) throws {
    let target = try EntryPath(cleaning: entry.target, limit: limits.nameBytes)
    let missing = ImageError(
      .malformed, "\(printable(entry.name)) links to \(printable(entry.target)), which is not there")
    guard !target.isRoot else { throw missing }
    let source = try tree.existingDirectory(target.parent)
    if let source, let found = try status(target.name, in: source.file) {
      guard !found.isDirectory else {
        throw ImageError(.malformed, "\(printable(entry.name)) links to the directory \(printable(entry.target))")
      }
      guard !found.isWhiteout else { throw missing }
      // A link to itself is there already.
      if source.path.appending(target.name) == parent.path.appending(path.name) { return }
      return try create("link", path, in: parent) { name in
        withCString(target.name) { linkat(source.file.raw, $0, parent.file.raw, name, 0) == 0 ? 0 : errno }
      }
    }
    guard let below = try tree.below((source?.path ?? target.parent).appending(target.name)) else { throw missing }
    try copyUp(below, path, in: parent)
  }

  private mutating func copyUp(_ below: SharedFD, _ path: EntryPath, in parent: LayerPlace) throws {
    let found = try status(of: below)
    var attributes = EntryAttributes(uid: found.st_uid, gid: found.st_gid, mode: found.st_mode & 0o7777)
    let times = EntryTimes(accessed: found.st_atim, modified: found.st_mtim)
    if found.isSymlink {
      let target = try linkTarget([], in: below)
      try create("symlink", path, in: parent) { name in
        withCString(target) { symlinkat($0, parent.file.raw, name) == 0 ? 0 : errno }
      }
      try attributes.apply(to: path.name, in: parent.file, isSymlink: true)
      try times.apply(to: path.name, in: parent.file)
      return count(blocks: 0)
    }
    guard found.isRegular else {
      throw ImageError(.unsupported, "\(printable(path.bytes)) links to a special file of a lower layer")
    }
    let source = try reopenFile(below)
    attributes.extended = try copiedAttributes(ofOpen: source)
    let file = try createFile(path, in: parent)
    let before = copied
    let length = try readExtents(of: source) { bytes, offset in
      try check()
      // A link is some bytes of the archive, and what it copies may be large: it counts as what is unpacked does.
      copied += UInt64(bytes.count)
      guard copied <= limits.expandedBytes else {
        throw ImageError(.limit, "links to files of lower layers that hold more than \(limits.expandedBytes) bytes")
      }
      try writeAll(bytes, at: offset, to: file, path)
      try checkSpace(UInt64(bytes.count))
    }
    guard ftruncate(file.raw, Int(length)) == 0 else { throw ImageError.call("truncate", printable(path.bytes), errno) }
    try attributes.apply(to: file, path: path)
    try times.apply(to: file, path: path)
    count(blocks: (copied - before + 4_095) / 4_096)
  }
}

// MARK: - Whiteouts

extension LayerWriter {
  /// Hides `path` of the layers below; what this layer has there stays (OCI image-spec, layer.md, "Whiteouts").
  private mutating func hide(_ path: EntryPath) throws {
    guard tree.lower != nil else { return }
    let parent = try tree.directory(path.parent)
    let place = parent.path.appending(path.name)
    if let found = try status(path.name, in: parent.file) {
      guard found.isDirectory else { return }
      return try tree.makeOpaque(LayerPlace(file: openDirectory(path.name, in: parent.file), path: place))
    }
    guard try tree.below(place) != nil else { return }
    try makeWhiteout(path.name, in: parent.file)
  }

  private mutating func makeWhiteout(_ name: some Collection<UInt8>, in directory: SharedFD) throws {
    let made = withCString(name) { clinux_fs_mknodat(directory.raw, $0, S_IFCHR, 0, 0) }
    guard made == 0 else { throw ImageError.call("make a whiteout for", printable(name), -made) }
    count(blocks: 0)
  }

  /// overlayfs takes no mark on the root of a layer: each name below it is hidden by itself.
  private mutating func hideRoot() throws {
    guard let lower = tree.lower else { return }
    try forEachEntry(of: lower) { name in
      guard let found = try status(name, in: tree.root) else { return try makeWhiteout(name, in: tree.root) }
      guard found.isDirectory else { return }
      let file = try openDirectory(name, in: tree.root)
      try setAttribute(overlayOpaque, Array("y".utf8), of: file, path: EntryPath.root.appending(name))
    }
  }
}

// MARK: - Room and space

extension LayerWriter {
  /// Makes `path` by `call`, after removing what this layer had there.
  private mutating func create(
    _ what: String, _ path: EntryPath, in parent: LayerPlace, _ call: (UnsafePointer<CChar>) -> Int32
  ) throws {
    var code = withCString(path.name, call)
    if code == EEXIST, let found = try status(path.name, in: parent.file) {
      try clear(parent.path.appending(path.name), in: parent, found)
      code = withCString(path.name, call)
    }
    guard code == 0 else { throw nameError(what, path, code) }
  }

  private mutating func createFile(_ path: EntryPath, in parent: LayerPlace) throws -> SharedFD {
    var file: SharedFD?
    try create("create", path, in: parent) { name in
      let flags = UInt64(UInt32(bitPattern: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW))
      let descriptor = clinux_host_openat2(parent.file.raw, name, flags, 0o600, Resolve.plain.rawValue)
      if descriptor >= 0 { file = SharedFD(owning: descriptor) }
      return min(0, descriptor) * -1
    }
    guard let file else { throw nameError("create", path, EIO) }
    return file
  }

  private mutating func clear(_ place: EntryPath, in parent: LayerPlace, _ found: stat) throws {
    try removal.remove(place.name, in: parent.file)
    if found.isDirectory || found.isSymlink { try tree.removed(place) }
  }

  private mutating func count(blocks: UInt64) {
    size.inodes += 1
    size.bytes += 4_096 * blocks
  }

  private func writeAll(
    _ bytes: UnsafeRawBufferPointer, at offset: Int64, to file: SharedFD, _ path: EntryPath
  ) throws {
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        file.raw, bytes.baseAddress.map { $0 + done }, bytes.count - done, Int(offset) + done)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ImageError.call("write", printable(path.bytes), count == 0 ? ENOSPC : errno) }
      done += count
    }
  }

  /// Looks at the disk after each 64 MiB, so that an image never takes the last of it.
  private mutating func checkSpace(_ written: UInt64) throws {
    unchecked += written
    guard unchecked >= 64 << 20 else { return }
    unchecked = 0
    try requireSpace(limits.reserveBytes, at: tree.root)
  }
}

/// - Throws: ``ImageError`` of kind `noSpace` when fewer than `bytes` are free.
func requireSpace(_ bytes: UInt64, at directory: SharedFD) throws(ImageError) {
  var space = statvfs()
  guard fstatvfs(directory.raw, &space) == 0 else { throw ImageError.call("statvfs", "the image store", errno) }
  let free = UInt64(space.f_bavail) * UInt64(space.f_frsize)
  guard free >= bytes else {
    throw ImageError(.noSpace, "the image store's disk has \(free >> 20) MiB left, of which \(bytes >> 20) stay free")
  }
}
