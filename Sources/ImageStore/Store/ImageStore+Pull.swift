import LinuxSystem
import RuntimeModel

/// What makes two pulls the same.
struct PullKey: Hashable, Sendable {
  var reference: ImageReference
  var credentials: RegistryCredentials?
}

/// What makes two downloads the same. Another caller's credentials may be refused where ours are not.
struct DownloadKey: Hashable, Sendable {
  var digest: ContentDigest
  var repository: String
  var credentials: RegistryCredentials?
}

extension ImageStore {
  /// Brings an image here. Asked for twice at the same time it is downloaded once. Cancel the task to give up.
  ///
  /// - Throws: ``ImageError``, or `CancellationError`.
  package func pull(_ reference: String, credentials: RegistryCredentials?) async throws -> Image {
    throw RuntimeError(.unimplemented, "pull is being built")
  }

  /// Unpacks one layer if it is not here, whoever else wants it too.
  func unpack(_ layer: ImageLayer, above below: [ContentDigest], from blob: TemporaryFile) async throws {
    if layers.contains(layer.chainID) { return }
    try await unpacks.run(layer.chainID) { [self] in
      try await cancellably { [layers] flag in
        try layers.unpack(try blob.open(), layer, above: below, cancellation: flag)
      }
    }
  }
}
