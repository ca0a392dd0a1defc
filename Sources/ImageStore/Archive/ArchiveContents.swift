import Glibc
import LinuxSystem

/// The files of an archive of images, each in a temporary file of a name of ours; names of the archive only serve to
/// look them up (ATTACKS.md I18).
struct ArchiveContents: Sendable {
  struct File: Sendable {
    let blob: TemporaryFile
    let size: UInt64
    /// SHA-256 of the content.
    let digest: ContentDigest
  }

  private(set) var files: [String: File] = [:]
  private var links: [String: String] = [:]
  /// Of what is kept here.
  private var pathBytes = 0

  /// Reads a tar, gzip'd, zstd'd or plain. Blocks.
  ///
  /// - Throws: ``ImageError``; `CancellationError`.
  init(
    _ archive: SharedFD, into directory: StoreDirectory, limits: ImageLimits, cancellation: CancellationFlag
  ) throws {
    let compression = Compression(of: archive)
    let file = FileSource(archive)
    let plain: any ByteSource = compression == .none ? file : try DecompressingSource(file, compression)
    let source = MeasuringSource(plain, digest: nil, limit: limits.expandedBytes, cancellation: cancellation)
    let tar = try TarReader(source, limits: limits)
    while let entry = try tar.next() {
      try cancellation.check()
      try add(entry, from: tar, into: directory, limits: limits)
    }
  }

  private mutating func add(
    _ entry: TarEntry, from tar: TarReader, into directory: StoreDirectory, limits: ImageLimits
  ) throws {
    let path = try EntryPath(cleaning: entry.name, limit: limits.nameBytes)
    guard let name = String(validating: path.bytes, as: UTF8.self) else {
      throw ImageError(.malformed, "the name \(printable(path.bytes)) is not UTF-8")
    }
    guard files[name] == nil, links[name] == nil else {
      throw ImageError(.malformed, "\(printable(path.bytes)) is there twice")
    }
    pathBytes += name.utf8.count + entry.target.count
    guard files.count + links.count < limits.archiveFiles, pathBytes <= limits.pathBytes else {
      throw ImageError(.limit, "an archive of more than \(limits.archiveFiles) files, or with names too long")
    }
    switch entry.kind {
    case .directory: return
    // `docker save` of older versions links layers that two images share.
    case .symlink: links[name] = try Self.resolve(entry.target, from: path.parent, limits: limits)
    case .file: files[name] = try Self.extract(from: tar, into: directory)
    default: throw ImageError(.malformed, "\(printable(path.bytes)) is neither a file nor a directory")
    }
  }

  /// By words, within the archive.
  private static func resolve(_ target: [UInt8], from parent: EntryPath, limits: ImageLimits) throws -> String {
    let joined = target.first == UInt8(ascii: "/") ? target : parent.bytes + [UInt8(ascii: "/")] + target
    return String(decoding: try EntryPath(cleaning: joined, limit: limits.nameBytes).bytes, as: UTF8.self)
  }

  private static func extract(from tar: TarReader, into directory: StoreDirectory) throws -> File {
    let path = directory.temporaryName("load")
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw ImageError.call("create", path, errno) }
    let blob = TemporaryFile(path)
    var writer = BlobWriter(SharedFD(owning: descriptor), at: directory.temporary, digest: .sha256)
    try tar.readData { bytes, offset in
      guard offset == Int64(writer.count) else { throw ImageError(.malformed, "a blob has holes") }
      try writer.append(bytes)
    }
    return File(blob: blob, size: writer.count, digest: writer.digest)
  }

  /// The file of that name, or the one that a link of that name means.
  func file(_ name: String) throws(ImageError) -> File {
    if let file = files[name] ?? links[name].flatMap({ files[$0] }) { return file }
    throw ImageError(.malformed, "the archive has no \(printable(name.utf8))")
  }

  /// The blob a descriptor points at, checked.
  func blob(_ descriptor: Descriptor) throws -> File {
    let digest = descriptor.digest
    let file = try file("blobs/\(digest.algorithm.rawValue)/\(digest.hex)")
    guard file.size == UInt64(clamping: descriptor.size) else {
      throw ImageError(.corrupt, "blob \(digest) has \(file.size) bytes, not \(descriptor.size)")
    }
    var found = file.digest
    if digest.algorithm != .sha256 {
      var hasher = ContentHasher(digest.algorithm)
      let source = FileSource(try file.blob.open())
      while case let bytes = try source.next(), !bytes.isEmpty { hasher.update(bytes) }
      found = hasher.finish()
    }
    guard found == digest else { throw ImageError(.corrupt, "blob \(digest) has the digest \(found)") }
    return file
  }
}

extension ArchiveContents.File {
  /// All of it.
  ///
  /// - Throws: ``ImageError`` of kind `limit` when it is larger than `limit`.
  func bytes(limit: Int, name: String) throws -> [UInt8] {
    guard size <= UInt64(limit) else { throw ImageError(.limit, "\(name) of \(size) bytes, of \(limit) allowed") }
    return try readStoreFile(blob.path, limit: limit)
  }
}

/// Writes a blob to a file and digests it on the way.
struct BlobWriter {
  private let file: SharedFD
  private let directory: SharedFD
  private var hasher: ContentHasher
  private var unchecked: UInt64 = 0
  private(set) var count: UInt64 = 0

  /// - Parameter directory: on the same filesystem, to look at its free space.
  init(_ file: SharedFD, at directory: SharedFD, digest: ContentDigest.Algorithm) {
    self.file = file
    self.directory = directory
    hasher = ContentHasher(digest)
  }

  /// - Throws: ``ImageError``: `noSpace`, `system`.
  mutating func append(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
    var done = 0
    while done < bytes.count {
      let count = file.use { write($0, bytes.baseAddress.map { $0 + done }, bytes.count - done) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ImageError.call("write", "a blob", count == 0 ? ENOSPC : errno) }
      done += count
    }
    hasher.update(bytes)
    count += UInt64(bytes.count)
    unchecked += UInt64(bytes.count)
    if unchecked >= 64 << 20 {
      unchecked = 0
      try requireSpace(64 << 20, at: directory)
    }
  }

  var digest: ContentDigest { hasher.finish() }
}
