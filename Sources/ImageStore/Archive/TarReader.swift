import CArchive
import Glibc

/// Reads the entries of a tar in order. libarchive parses; nothing is written here.
final class TarReader {
  private let archive: OpaquePointer
  private let feed: ArchiveFeed
  private let limits: ImageLimits
  private var entries = 0

  init(_ source: any ByteSource, limits: ImageLimits) throws {
    guard let archive = archive_read_new() else { throw ImageError.call("allocate", "a tar reader", ENOMEM) }
    self.archive = archive
    self.limits = limits
    feed = ArchiveFeed(source)
    archive_read_support_format_tar(archive)
    try feed.open(archive)
  }

  deinit { archive_read_free(archive) }

  /// - Returns: nil at the end of the archive.
  /// - Throws: ``ImageError``: `corrupt` or `limit`; whatever the source throws.
  func next() throws -> TarEntry? {
    // The rest of the entry before belongs to its data, not to this header's bound.
    feed.budget = Int.max
    if entries > 0, archive_read_data_skip(archive) < ARCHIVE_WARN { throw feed.failure(archive, "read tar") }
    feed.budget = limits.headerBytes
    defer { feed.budget = Int.max }

    var pointer: OpaquePointer?
    let code = archive_read_next_header(archive, &pointer)
    if code == ARCHIVE_EOF { return nil }
    // A warning is a name that this process's locale (C) cannot spell; we take names as bytes.
    guard code == ARCHIVE_OK || code == ARCHIVE_WARN, let pointer else { throw feed.failure(archive, "read tar") }
    entries += 1
    guard entries <= limits.entries else { throw ImageError(.limit, "more than \(limits.entries) entries") }
    return try entry(pointer)
  }

  /// The data of the entry that ``next()`` returned last, in ascending order; holes are left out.
  func readData(_ body: (UnsafeRawBufferPointer, Int64) throws -> Void) throws {
    while true {
      var bytes: UnsafeRawPointer?
      var count = 0
      var offset: Int64 = 0
      let code = archive_read_data_block(archive, &bytes, &count, &offset)
      if code == ARCHIVE_EOF { return }
      guard code == ARCHIVE_OK || code == ARCHIVE_WARN else { throw feed.failure(archive, "read tar") }
      if count > 0 { try body(UnsafeRawBufferPointer(start: bytes, count: count), offset) }
    }
  }

  private func entry(_ pointer: OpaquePointer) throws -> TarEntry {
    guard let name = bytes(archive_entry_pathname(pointer)) else {
      throw ImageError(.malformed, "an entry without a name")
    }
    var entry = TarEntry(kind: .file, name: name)
    if let target = bytes(archive_entry_hardlink(pointer)) {
      entry.kind = .hardLink
      entry.target = target
    } else {
      entry.kind = try kind(archive_entry_filetype(pointer), name)
      if entry.kind == .symlink { entry.target = bytes(archive_entry_symlink(pointer)) ?? [] }
    }
    entry.mode = UInt32(archive_entry_perm(pointer)) & 0o7777
    entry.uid = archive_entry_uid(pointer)
    entry.gid = archive_entry_gid(pointer)
    entry.size = archive_entry_size(pointer)
    entry.major = Int64(archive_entry_rdevmajor(pointer))
    entry.minor = Int64(archive_entry_rdevminor(pointer))
    if archive_entry_mtime_is_set(pointer) != 0 {
      entry.modified = .init(
        seconds: Int64(archive_entry_mtime(pointer)), nanoseconds: Int64(archive_entry_mtime_nsec(pointer)))
    }
    if archive_entry_atime_is_set(pointer) != 0 {
      entry.accessed = .init(
        seconds: Int64(archive_entry_atime(pointer)), nanoseconds: Int64(archive_entry_atime_nsec(pointer)))
    }
    entry.attributes = attributes(pointer)
    return entry
  }

  private func kind(_ type: mode_t, _ name: [UInt8]) throws -> TarEntry.Kind {
    switch type & S_IFMT {
    case S_IFREG: .file
    case S_IFDIR: .directory
    case S_IFLNK: .symlink
    case S_IFIFO: .fifo
    case S_IFCHR: .characterDevice
    case S_IFBLK: .blockDevice
    default: throw ImageError(.malformed, "\(printable(name)) is of an unknown type")
    }
  }

  private func bytes(_ text: UnsafePointer<CChar>?) -> [UInt8]? {
    text.map { Array(UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
  }

  private func attributes(_ pointer: OpaquePointer) -> [(name: String, value: [UInt8])] {
    guard archive_entry_xattr_reset(pointer) > 0 else { return [] }
    var attributes: [(name: String, value: [UInt8])] = []
    while true {
      var name: UnsafePointer<CChar>?
      var value: UnsafeRawPointer?
      var size = 0
      guard archive_entry_xattr_next(pointer, &name, &value, &size) == ARCHIVE_OK, let name else { return attributes }
      attributes.append(
        (String(cString: name), Array(UnsafeRawBufferPointer(start: value, count: value == nil ? 0 : size))))
    }
  }
}
