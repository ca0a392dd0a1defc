import CArchive
import Glibc
import LinuxSystem
import Synchronization

/// Bytes, a piece at a time. The piece is valid until the next call; an empty one is the end.
protocol ByteSource: AnyObject {
  func next() throws -> UnsafeRawBufferPointer
}

/// Asked from inside blocking work whether anybody still wants it.
final class CancellationFlag: Sendable {
  private let isSet = Atomic<Bool>(false)

  func set() { isSet.store(true, ordering: .relaxed) }

  /// - Throws: `CancellationError`.
  func check() throws {
    if isSet.load(ordering: .relaxed) { throw CancellationError() }
  }
}

/// A file from where it stands to its end.
final class FileSource: ByteSource {
  private let file: SharedFD
  private let buffer: UnsafeMutableRawBufferPointer

  init(_ file: SharedFD) {
    self.file = file
    buffer = .allocate(byteCount: 256 << 10, alignment: 4_096)
  }

  deinit { buffer.deallocate() }

  func next() throws -> UnsafeRawBufferPointer {
    while true {
      let count = read(file.raw, buffer.baseAddress, buffer.count)
      if count >= 0 { return UnsafeRawBufferPointer(rebasing: buffer[..<count]) }
      if errno != EINTR { throw ImageError.call("read", "a blob", errno) }
    }
  }
}

/// How a blob is packed, told by its first bytes and never by its media type (CRI.md 7.5).
enum Compression: Equatable {
  case none, gzip, zstd

  init(magic: [UInt8]) {
    if magic.starts(with: [0x1f, 0x8b]) {
      self = .gzip
    } else if magic.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) {
      self = .zstd
    } else if magic.count >= 4, (0x50...0x5f).contains(magic[0]), magic[1...3].elementsEqual([0x2a, 0x4d, 0x18]) {
      self = .zstd
    } else {
      self = .none
    }
  }

  /// Looks at the beginning of `file` and leaves its position alone.
  init(of file: SharedFD) {
    var magic = [UInt8](repeating: 0, count: 4)
    let count = pread(file.raw, &magic, 4, 0)
    self.init(magic: Array(magic.prefix(max(0, count))))
  }
}

/// Undoes gzip or zstd with libarchive's filters, all members or frames to the end.
final class DecompressingSource: ByteSource {
  private let archive: OpaquePointer
  private let feed: ArchiveFeed
  private var hasStarted = false

  init(_ source: any ByteSource, _ compression: Compression) throws {
    guard let archive = archive_read_new() else { throw ImageError.call("allocate", "a decompressor", ENOMEM) }
    self.archive = archive
    feed = ArchiveFeed(source)
    archive_read_append_filter(archive, compression == .gzip ? ARCHIVE_FILTER_GZIP : ARCHIVE_FILTER_ZSTD)
    archive_read_set_format(archive, ARCHIVE_FORMAT_RAW)
  }

  deinit { archive_read_free(archive) }

  func next() throws -> UnsafeRawBufferPointer {
    if !hasStarted {
      hasStarted = true
      try feed.open(archive)
      var entry: OpaquePointer?
      let code = archive_read_next_header(archive, &entry)
      if code == ARCHIVE_EOF { return UnsafeRawBufferPointer(start: nil, count: 0) }
      guard code == ARCHIVE_OK else { throw feed.failure(archive, "decompress") }
    }
    var bytes: UnsafeRawPointer?
    var count = 0
    var offset: Int64 = 0
    let code = archive_read_data_block(archive, &bytes, &count, &offset)
    if code == ARCHIVE_EOF { return UnsafeRawBufferPointer(start: nil, count: 0) }
    guard code == ARCHIVE_OK else { throw feed.failure(archive, "decompress") }
    return UnsafeRawBufferPointer(start: bytes, count: count)
  }
}

/// Counts, bounds and digests what passes; stops when nobody wants it any more.
final class MeasuringSource: ByteSource {
  private let source: any ByteSource
  private let cancellation: CancellationFlag
  private let limit: UInt64
  private var hasher: ContentHasher?
  private(set) var count: UInt64 = 0

  /// - Parameter digest: nil where nobody asks for it.
  init(_ source: any ByteSource, digest: ContentDigest.Algorithm?, limit: UInt64, cancellation: CancellationFlag) {
    self.source = source
    self.cancellation = cancellation
    self.limit = limit
    hasher = digest.map(ContentHasher.init)
  }

  func next() throws -> UnsafeRawBufferPointer {
    try cancellation.check()
    let bytes = try source.next()
    count += UInt64(bytes.count)
    guard count <= limit else { throw ImageError(.limit, "more than \(limit) bytes when unpacked") }
    hasher?.update(bytes)
    return bytes
  }

  /// Reads what is left, which counts too.
  func drain() throws {
    while try !next().isEmpty {}
  }

  /// Of all that has passed; nil when it was not asked for.
  var digest: ContentDigest? { hasher?.finish() }
}

/// Hands a source to libarchive and keeps the error that a C callback cannot throw.
final class ArchiveFeed {
  private let source: any ByteSource
  private var error: (any Error)?
  /// Bytes that may still pass before somebody renews it: what one header with all its extensions may take.
  var budget = Int.max

  init(_ source: any ByteSource) { self.source = source }

  /// The archive keeps an unretained pointer to `self`: free it first.
  func open(_ archive: OpaquePointer) throws {
    let context = Unmanaged.passUnretained(self).toOpaque()
    let code = archive_read_open(
      archive, context, nil,
      { _, context, buffer in
        guard let context, let buffer else { return -1 }
        return Unmanaged<ArchiveFeed>.fromOpaque(context).takeUnretainedValue().fill(buffer)
      }, nil)
    guard code == ARCHIVE_OK else { throw failure(archive, "open") }
  }

  /// What the source threw, else what libarchive says.
  func failure(_ archive: OpaquePointer, _ doing: String) -> any Error {
    if let error { return error }
    let text = archive_error_string(archive).map { String(cString: $0) } ?? "unknown error"
    return ImageError(.corrupt, "\(doing): \(text.lowercased())")
  }

  private func fill(_ buffer: UnsafeMutablePointer<UnsafeRawPointer?>) -> Int {
    do {
      guard budget >= 0 else { throw ImageError(.limit, "the headers of one entry are too large") }
      let bytes = try source.next()
      if budget != Int.max { budget -= bytes.count }
      buffer.pointee = bytes.baseAddress
      return bytes.count
    } catch {
      self.error = error
      return -1
    }
  }
}
