package import Logging
package import RuntimeModel

/// The images of one daemon: references, content by digest, unpacked layers and the directories of containers' roots,
/// all below one directory that nobody else writes.
package final class ImageStore: Sendable {
  /// Opens the store, made if absent; removes what an interrupted pull left, and drops images whose layers are gone.
  ///
  /// - Throws: ``ImageError`` of kind `system` when the directory cannot be used.
  package init(root: String, configuration: RegistryConfiguration, logger: Logger) throws(ImageError) {
  }

  /// Brings an image here. Asked for twice at the same time it is downloaded once. Cancel the task to give up.
  ///
  /// - Throws: ``ImageError``, or `CancellationError`.
  package func pull(_ reference: String, credentials: RegistryCredentials?) async throws -> Image {
    throw RuntimeError(.unimplemented, "pull is being built")
  }

  /// Takes the images of an OCI layout tar or a `docker save` tar, gzip'd or not.
  ///
  /// - Throws: ``ImageError``, or `CancellationError`.
  package func load(archivePath: String) async throws -> [Image] {
    throw RuntimeError(.unimplemented, "load is being built")
  }

  /// All images, by id. From memory.
  package func list() -> [Image] { [] }

  /// The image of that name: an id with or without `sha256:`, a unique beginning of one, a tag or a digest reference.
  ///
  /// - Returns: nil when there is none.
  /// - Throws: ``ImageError`` of kind `ambiguous` or `invalidReference`.
  package func find(_ text: String) throws(ImageError) -> Image? { nil }

  /// Removes the image of that name with all its tags and digests. Success when there is none. Its layers stay until
  /// the last snapshot over them is removed.
  ///
  /// - Throws: ``ImageError`` of kind `ambiguous`, `invalidReference` or `system`.
  package func remove(_ text: String) async throws {}

  /// Makes the directories of a container's root and keeps the image's layers until ``removeSnapshot(key:)``.
  ///
  /// - Throws: ``ImageError``: `notFound` when the image was removed, else `system` or `noSpace`.
  package func prepareSnapshot(image: Image, key: Identifier) async throws -> Snapshot {
    throw RuntimeError(.unimplemented, "prepareSnapshot is being built")
  }

  /// Removes the directories of a container's root. Success when there are none.
  ///
  /// - Throws: ``ImageError`` of kind `system`.
  package func removeSnapshot(key: Identifier) async throws {}

  /// The keys of all snapshots. From memory.
  package func snapshotKeys() throws -> [Identifier] { [] }

  /// What unpacked layers take on their filesystem. From memory.
  package func usage() async throws -> FilesystemUsage {
    throw RuntimeError(.unimplemented, "usage is being built")
  }

  /// Gives up what is running and waits for its end.
  package func shutdown() async {}
}
