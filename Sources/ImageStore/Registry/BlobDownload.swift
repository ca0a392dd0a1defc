import AsyncHTTPClient
import Glibc
import LinuxSystem
import NIOCore
import NIOHTTP1
import Synchronization

extension RegistryClient {
  /// Downloads a layer's blob to a file, checked against its digest and size. A broken connection is resumed.
  ///
  /// - Throws: ``ImageError``: `corrupt`, `notFound`, `limit`, `noSpace`, and as ``get``; `CancellationError`.
  func download(_ repository: Repository, _ descriptor: Descriptor) async throws -> TemporaryFile {
    let name = "blob \(descriptor.digest) of \(repository.reference.name)"
    guard descriptor.size >= 0, UInt64(descriptor.size) <= configuration.limits.expandedBytes else {
      throw ImageError(.limit, "\(name) has \(descriptor.size) bytes, of \(configuration.limits.expandedBytes) allowed")
    }
    let needed = UInt64(descriptor.size) + configuration.limits.reserveBytes
    let sink = try await files.run { [directory] in
      try requireSpace(needed, at: directory.temporary)
      return try BlobSink(directory, descriptor.digest)
    }
    var attempt = 1
    while true {
      let before = sink.count
      if let outcome = try await transfer(repository, descriptor, to: sink, name: name) {
        // Progress earns new tries: what is bounded is going nowhere.
        attempt = sink.count > before ? 1 : attempt + 1
        guard attempt <= configuration.attempts else {
          throw ImageError(
            .corrupt,
            "\(name) from \(repository.origin.name) ends after \(sink.count) of \(descriptor.size) bytes: \(outcome)")
        }
        try await Task.sleep(for: .milliseconds(100 * attempt))
        continue
      }
      let digest = sink.digest
      guard digest == descriptor.digest else {
        throw ImageError(.corrupt, "\(name) from \(repository.origin.name) has the digest \(digest)")
      }
      return sink.file
    }
  }

  /// One request for what is missing.
  ///
  /// - Returns: nil when all is here, else why not.
  private func transfer(
    _ repository: Repository, _ descriptor: Descriptor, to sink: BlobSink, name: String
  ) async throws -> String? {
    let size = UInt64(descriptor.size)
    if sink.count == size, size > 0 { return nil }
    let range = sink.count > 0 ? [("Range", "bytes=\(sink.count)-")] : []
    let response = try await get(repository, "blobs/\(descriptor.digest)", headers: range)
    switch response.status.code {
    case 404: throw ImageError(.notFound, "\(name) is not in registry \(repository.origin.name)")
    case 206 where sink.count > 0 && isContinuation(response, at: sink.count): break
    case 200: try await files.run { try sink.restart() }
    default:
      try await files.run { try sink.restart() }
      return "answered \(response.status.code)"
    }
    var waiting: [ByteBuffer] = []
    var waitingBytes = 0
    do {
      for try await part in response.body {
        waiting.append(part)
        waitingBytes += part.readableBytes
        guard sink.count + UInt64(waitingBytes) <= size else {
          throw ImageError(.corrupt, "\(name) from \(repository.origin.name) is longer than \(size) bytes")
        }
        if waitingBytes >= 1 << 20 {
          try await write(&waiting, to: sink)
          waitingBytes = 0
        }
      }
      try await write(&waiting, to: sink)
    } catch let error as ImageError {
      throw error
    } catch {
      try Task.checkCancellation()
      // What came before the connection broke need not come again.
      try await write(&waiting, to: sink)
      return Self.reason(error)
    }
    return sink.count == size ? nil : "the connection was closed"
  }

  private func write(_ waiting: inout [ByteBuffer], to sink: BlobSink) async throws {
    let parts = waiting
    waiting = []
    try await files.run { try sink.append(parts) }
  }

  private func isContinuation(_ response: HTTPClientResponse, at offset: UInt64) -> Bool {
    response.headers.first(name: "Content-Range")?.hasPrefix("bytes \(offset)-") ?? false
  }
}

/// Where a download goes: one task after the other writes.
private final class BlobSink: Sendable {
  let file: TemporaryFile
  private let descriptor: SharedFD
  private let directory: SharedFD
  private let algorithm: ContentDigest.Algorithm
  private let writer: Mutex<BlobWriter>

  init(_ directory: StoreDirectory, _ digest: ContentDigest) throws(ImageError) {
    let path = directory.temporaryName("blob")
    let raw = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard raw >= 0 else { throw ImageError.call("create", path, errno) }
    file = TemporaryFile(path)
    descriptor = SharedFD(owning: raw)
    self.directory = directory.temporary
    algorithm = digest.algorithm
    writer = Mutex(BlobWriter(descriptor, at: directory.temporary, digest: digest.algorithm))
  }

  var count: UInt64 { writer.withLock { $0.count } }
  var digest: ContentDigest { writer.withLock { $0.digest } }

  func append(_ parts: [ByteBuffer]) throws(ImageError) {
    try writer.withLock { (writer) throws(ImageError) in
      for part in parts {
        let failure: ImageError? = part.withUnsafeReadableBytes { bytes in
          do throws(ImageError) {
            try writer.append(bytes)
            return nil
          } catch {
            return error
          }
        }
        if let failure { throw failure }
      }
    }
  }

  func restart() throws(ImageError) {
    try writer.withLock { (writer) throws(ImageError) in
      guard writer.count > 0 else { return }
      let failed = descriptor.use { ftruncate($0, 0) == 0 && lseek($0, 0, SEEK_SET) == 0 ? 0 : errno }
      guard failed == 0 else { throw ImageError.call("truncate", file.path, failed) }
      writer = BlobWriter(descriptor, at: directory, digest: algorithm)
    }
  }
}
