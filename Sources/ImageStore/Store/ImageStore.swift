import FoundationEssentials
import Glibc
package import LinuxSystem
package import Logging
import RuntimeModel
import Synchronization

/// The images of one daemon: references, content by digest, unpacked layers and the directories of containers' roots,
/// all below one directory that nobody else writes.
package final class ImageStore: Sendable {
  let directory: StoreDirectory
  let configuration: RegistryConfiguration
  let logger: Logger
  let layers: LayerStore
  let snapshots = Mutex<[Identifier: SnapshotRecord]>([:])
  let table = Mutex(ImageTable())
  /// Of the images in `table`, read once.
  let configurations = Mutex<[ContentDigest: ImageConfiguration]>([:])
  /// Held while records are written, so that what is on disk and `table` change in the same order. Blocks: pools only.
  let recording = Mutex(())

  /// For short calls on the path of a container's creation.
  let quick = BlockingPool(threads: 2)
  /// For what waits for the disk to have written, and for `recording`.
  let durable = BlockingPool(threads: 1)
  /// For unpacking, which takes long.
  let slow = BlockingPool(threads: 3)
  /// For a snapshot's copies of what an image has at its VOLUMEs: not behind what is being unpacked.
  let copies = BlockingPool(threads: 2)
  let sweeper: Sweeper
  let registry: RegistryClient
  let pulls = SingleFlight<PullKey, ContentDigest>()
  let downloads = SingleFlight<DownloadKey, TemporaryFile>()
  let unpacks = SingleFlight<ContentDigest, Void>()

  /// Opens the store, made if absent; removes what an interrupted pull left, and drops images whose layers are gone.
  ///
  /// - Parameter root: absolute; missing directories are made.
  /// - Throws: ``ImageError`` of kind `system` when the directory cannot be used; `unsupported`, before anything is
  ///   changed, when something in it is of a later version.
  package init(root: String, configuration: RegistryConfiguration, logger: Logger) throws(ImageError) {
    directory = try StoreDirectory(root: root)
    self.configuration = configuration
    self.logger = logger
    sweeper = Sweeper(directory, logger: logger)
    layers = LayerStore(directory, limits: configuration.limits, sweeper: sweeper)
    registry = RegistryClient(configuration, directory: directory)
    try recover()
  }

  /// All images, by id. From memory.
  package func list() -> [Image] {
    table.withLock { Array($0.records.values) }.sorted { $0.id.hex < $1.id.hex }.compactMap(image)
  }

  /// The image of that name: an id with or without `sha256:`, a unique beginning of one, a tag or a digest reference.
  ///
  /// - Returns: nil when there is none.
  /// - Throws: ``ImageError`` of kind `ambiguous` or `invalidReference`.
  package func find(_ text: String) throws(ImageError) -> Image? {
    try table.withLock { (table) throws(ImageError) in try table.find(text) }.flatMap(image)
  }

  /// Removes the image of that name with all its tags and digests. Success when there is none. Its layers stay until
  /// the last snapshot over them is removed.
  ///
  /// - Throws: ``ImageError`` of kind `ambiguous`, `invalidReference` or `system`.
  package func remove(_ text: String) async throws {
    let aside: [String] = try await durable.run { [self] in
      try recording.withLock { _ in
        guard let record = try table.withLock({ try $0.find(text) }) else { return [] }
        let path = directory.record(record.id)
        guard unlink(path) == 0 || errno == ENOENT else { throw ImageError.call("unlink", path, errno) }
        table.withLock { _ = $0.remove(record.id) }
        configurations.withLock { $0[record.id] = nil }
        logger.info("image removed", metadata: ["image": "\(record.id)"])
        return try layers.release(record.layers.map(\.chainID))
      }
    }
    sweeper.discard(aside)
  }

  /// Lets `body` look at an image's files: one read-only tree of all its layers, mounted nowhere.
  ///
  /// - Parameter body: runs on a thread of its own; may block on the disk.
  /// - Throws: ``ImageError``: `notFound` when the image was removed, else `system`; what `body` throws.
  package func withRoot<T: Sendable>(
    of image: Image, _ body: @escaping @Sendable (borrowing RootHandle) throws -> T
  ) async throws -> T {
    let chains = image.layers.map(\.chainID)
    guard layers.holdIfPresent(chains) else { throw ImageError(.notFound, "image \(image.id) was removed") }
    return try await quick.run { [self] in
      defer { sweeper.discard((try? layers.release(chains)) ?? []) }
      guard !chains.isEmpty else { throw ImageError(.malformed, "image \(image.id) has no layers") }
      let view = try openMergedView(chains.reversed().map(directory.diff))
      let root = RootHandle(owning: try reopen(view), name: "image \(image.id)")
      return try body(root)
    }
  }

  private func reopen(_ view: SharedFD) throws(ImageError) -> OwnedFD {
    let copy = view.use { fcntl($0, F_DUPFD_CLOEXEC, 0) }
    guard copy >= 0 else { throw ImageError.call("dup", "an image's root", errno) }
    return OwnedFD(owning: copy)
  }

  /// What unpacked layers take on their filesystem. From memory.
  package func usage() async throws -> FilesystemUsage {
    let size = layers.usage
    return FilesystemUsage(
      mountpoint: directory.root, usedBytes: size.bytes, inodesUsed: size.inodes, timestamp: WallClock.now())
  }

  /// Gives up what is running. What waits for its removal is removed at the next start.
  package func shutdown() async {
    await pulls.cancelAll()
    await unpacks.cancelAll()
    await registry.shutdown()
    await sweeper.shutdown()
  }
}

// MARK: - Records

extension ImageStore {
  /// As a client sees it; nil for an image that was removed meanwhile.
  func image(_ record: ImageRecord) -> Image? {
    guard let configuration = configurations.withLock({ $0[record.id] }) else { return nil }
    return Image(
      id: record.id.text, repoTags: record.tags.sorted(), repoDigests: record.digests.sorted(),
      size: max(1, layers.size(of: record.layers.map(\.chainID)).bytes), config: configuration,
      configJSON: record.configuration, layers: record.layers)
  }

  /// Writes an image's record, last of all. Its layers are here and held by the caller. Blocks.
  func commit(_ document: ConfigurationDocument, tags: Set<String>, digests: Set<String>) throws {
    try recording.withLock { _ in
      configurations.withLock { $0[document.id] = document.configuration }
      let changes = table.withLock {
        $0.changes(
          adding: document.id, tags: tags, digests: digests, layers: document.layers, configuration: document.text)
      }
      for record in changes {
        try writeDurably(
          try StoreDocument.encode(record), to: directory.record(record.id), by: directory.temporaryName("record"))
        if table.withLock({ $0.apply(record) }) { layers.hold(record.layers.map(\.chainID)) }
      }
    }
  }

  /// Reads what is on disk; called before anybody else can.
  private func recover() throws(ImageError) {
    // First all is read: what a later version has written ends this before anything is removed.
    let strangers = try layers.open()
    let useless = try recoverImages()
    try recoverSnapshots()
    var aside: [String] = []
    for name in try entries(of: directory.temporary) {
      aside.append("\(directory.temporaryPath)/\(String(decoding: name, as: UTF8.self))")
    }
    for stranger in strangers {
      logger.warning("layer is incomplete and removed", metadata: ["path": "\(stranger)"])
      if let path = try directory.setAside(stranger) { aside.append(path) }
    }
    for path in useless { unlink(path) }
    aside += try layers.collect()
    sweeper.discard(aside)
  }

  /// - Returns: files of images that are none, or none any more.
  private func recoverImages() throws(ImageError) -> [String] {
    var useless: [String] = []
    for name in try entries(of: openTrustedDirectory(directory.images)) {
      let file = String(decoding: name, as: UTF8.self)
      let path = "\(directory.images)/\(file)"
      guard let (record, document) = try readRecord(path), "\(record.id.hex).json" == file else {
        logger.warning("image record cannot be read and is removed", metadata: ["path": "\(path)"])
        useless.append(path)
        continue
      }
      let chains = record.layers.map(\.chainID)
      guard let missing = chains.first(where: { !layers.contains($0) }) else {
        layers.hold(chains)
        configurations.withLock { $0[record.id] = document.configuration }
        table.withLock { _ = $0.apply(record) }
        continue
      }
      logger.warning(
        "image is dropped: a layer of it is missing",
        metadata: ["image": "\(record.id)", "tags": "\(record.tags.sorted())", "layer": "\(missing)"])
      useless.append(path)
    }
    table.withLock { $0.settleTags() }
    return useless
  }

  private func readRecord(_ path: String) throws(ImageError) -> (ImageRecord, ConfigurationDocument)? {
    let limits = configuration.limits
    guard
      let record = try StoreDocument.read(
        ImageRecord.self, path, limit: 2 * limits.configurationBytes + (1 << 20)),
      let document = try? ConfigurationDocument(Array(record.configuration.utf8), limits: limits, name: path),
      document.id == record.id, document.layers == record.layers
    else { return nil }
    return (record, document)
  }
}
