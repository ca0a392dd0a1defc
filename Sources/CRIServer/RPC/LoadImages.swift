import CRIProtocol
import GRPCCore
import Glibc
import ImageStore
import LinuxSystem
import RuntimeModel

/// `swiftlet.v1.Swiftlet`: what our own client needs beside the CRI.
struct SwiftletService: Swiftlet_V1_Swiftlet.SimpleServiceProtocol {
  let daemon: Daemon

  /// The largest archive that is taken: an image store's own limits are below it.
  private static let limit: Int64 = 64 << 30

  func loadImages(
    request: RPCAsyncSequence<Swiftlet_V1_LoadImagesRequest, any Error>, context: ServerContext
  ) async throws -> Swiftlet_V1_LoadImagesResponse {
    let archive = try Archive(directory: daemon.configuration.root)
    defer { archive.remove() }
    var size: Int64 = 0
    for try await message in request {
      size += Int64(message.chunk.count)
      guard size <= Self.limit else {
        throw RuntimeError(.resourceExhausted, "the archive is larger than \(Self.limit) bytes")
      }
      try await daemon.threads.run { try archive.append([UInt8](message.chunk)) }
    }
    var response = Swiftlet_V1_LoadImagesResponse()
    do {
      response.images = try await daemon.images.load(archivePath: archive.path).map { image in
        var loaded = Swiftlet_V1_LoadedImage()
        loaded.id = image.id
        loaded.names = image.repoTags
        return loaded
      }
    } catch let error as ImageError where error.kind == .corrupt {
      // What came is whole, so what is wrong in it is the sender's mistake.
      throw RuntimeError(.invalidArgument, error.message)
    }
    return response
  }
}

/// What has come of an archive, in a file of our own root directory.
private final class Archive: Sendable {
  let path: String
  private let descriptor: SharedFD

  init(directory: String) throws {
    path = "\(directory)/load-\(Identifier.random().short).tar"
    descriptor = SharedFD(try OwnedFD.open(path, flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600))
  }

  func append(_ bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { write(descriptor.raw, $0.baseAddress, $0.count) }
      if written < 0 && errno == EINTR { continue }
      guard written > 0 else {
        let code: RuntimeError.Code = errno == ENOSPC ? .resourceExhausted : .internalError
        throw RuntimeError(code, "\(SystemCallError(call: "write", subject: path))")
      }
      rest = rest.dropFirst(written)
    }
  }

  func remove() { unlink(path) }
}
