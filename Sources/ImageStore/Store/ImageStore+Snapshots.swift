import FoundationEssentials
import Glibc
import LinuxSystem
import Logging
package import RuntimeModel
import Synchronization

extension ImageStore {
  /// Makes the directories of a container's root and keeps the image's layers until ``removeSnapshot(key:)``.
  ///
  /// - Parameters:
  ///   - key: the container's id; nobody has it yet.
  ///   - volumes: paths in the image; each gets a directory of its own, ``volumeDirectory(_:of:)``, with what the image
  ///     has there.
  ///   - mounted: further images whose layers are kept as long.
  ///   - owner: the user namespace in which the root has its owner; nil: the node's.
  ///   - check: throws when nobody wants the snapshot any more; asked again and again while volumes are copied, from a
  ///     thread that may block.
  /// - Throws: what `check` throws; ``ImageError``: `notFound` when an image was removed, `malformed` when a volume is no directory of the
  ///   image, else `system` or `noSpace`.
  package func prepareSnapshot(
    image: Image, key: Identifier, volumes: [String] = [], mounted: [Image] = [], owner: UserMapping? = nil,
    check: @escaping @Sendable () throws -> Void = {}
  ) async throws -> Snapshot {
    let chains = image.layers.map(\.chainID)
    guard let id = ContentDigest(image.id), !chains.isEmpty else {
      throw ImageError(.malformed, "image \(image.id) has no layers")
    }
    guard layers.holdIfPresent(chains) else { throw ImageError(.notFound, "image \(image.id) was removed") }
    var record = SnapshotRecord(image: id, chainIDs: chains)
    do {
      try hold(mounted, &record)
      // What an image has in its volumes may take long to copy.
      try await (volumes.isEmpty ? quick : copies).run { [self, record] in
        try make(record, key, volumes, owner, check)
      }
    } catch {
      try await releaseLayers(record.held)
      throw error
    }
    snapshots.withLock { $0[key] = record }
    return snapshot(record, key)
  }

  /// Removes the directories of a container's root. Success when there are none. Nothing may be mounted over them.
  ///
  /// - Throws: ``ImageError`` of kind `system`.
  package func removeSnapshot(key: Identifier) async throws {
    let aside = try await quick.run { [self] in try directory.setAside(path(of: key)) }
    if let aside { sweeper.discard([aside]) }
    guard let record = snapshots.withLock({ $0.removeValue(forKey: key) }) else { return }
    try await releaseLayers(record.held)
  }

  /// Where a volume of ``prepareSnapshot(image:key:volumes:mounted:)`` is, by its index there. Absolute; goes with the
  /// snapshot.
  package func volumeDirectory(_ index: Int, of key: Identifier) -> String { "\(path(of: key))/volumes/\(index)" }

  /// What an overlay that shows an image alone is made of. The image must be kept by a snapshot.
  ///
  /// - Returns: absolute, topmost first; at least two, since an overlay without a writable layer wants so many.
  package func overlayDirectories(of image: Image) -> [String] {
    let layers = image.layers.reversed().map { directory.diff($0.chainID) }
    return layers.count > 1 ? layers : layers + [directory.empty]
  }

  /// The keys of all snapshots, sorted. From memory.
  package func snapshotKeys() throws -> [Identifier] { snapshots.withLock { $0.keys.sorted() } }

  /// The directories of a container's root, for a daemon that was restarted.
  ///
  /// - Returns: nil when there is no snapshot of that key.
  package func snapshot(key: Identifier) -> Snapshot? {
    snapshots.withLock { $0[key] }.map { snapshot($0, key) }
  }

  func releaseLayers(_ chains: [ContentDigest]) async throws {
    // Not cancelled with the caller: a hold that is never undone would keep the layers for good.
    let aside = try await Task { try await quick.run { [self] in try layers.release(chains) } }.value
    sweeper.discard(aside)
  }

  private func path(of key: Identifier) -> String { "\(directory.snapshots)/\(key)" }

  private func snapshot(_ record: SnapshotRecord, _ key: Identifier) -> Snapshot {
    Snapshot(
      lowerDirectories: record.chainIDs.reversed().map(directory.diff), upperDirectory: path(of: key) + "/fs",
      workDirectory: path(of: key) + "/work")
  }

  /// Where all layers are, and nothing that a container may write to: absolute.
  package var layerDirectory: String { directory.layers }

  private func hold(_ images: [Image], _ record: inout SnapshotRecord) throws(ImageError) {
    for image in images {
      let chains = image.layers.map(\.chainID)
      guard !chains.isEmpty else { throw ImageError(.malformed, "image \(image.id) has no layers") }
      guard layers.holdIfPresent(chains) else { throw ImageError(.notFound, "image \(image.id) was removed") }
      record.mounted = (record.mounted ?? []) + chains
    }
  }

  private func make(
    _ record: SnapshotRecord, _ key: Identifier, _ volumes: [String], _ owner: UserMapping?,
    _ check: @escaping @Sendable () throws -> Void
  ) throws {
    let work = directory.temporaryName("snapshot")
    do {
      try makeDirectory(work)
      try makeDirectory(work + "/work")
      try makeDirectory(work + "/fs")
      // Overlay shows the upper directory's mode and owner as those of the root.
      if let top = record.chainIDs.last {
        let root = try status(of: openTrustedDirectory(directory.diff(top)))
        let upper = try openTrustedDirectory(work + "/fs")
        // The layers below are shown with other ids; this one is written with them.
        let uid = root.st_uid &+ (owner?.uids.host ?? 0)
        let gid = root.st_gid &+ (owner?.gids.host ?? 0)
        try EntryAttributes(uid: uid, gid: gid, mode: root.st_mode & 0o7777).apply(
          to: upper, path: .root)
      }
      try makeVolumes(volumes, of: record, in: work, check)
      // Not synced: after a power loss no container is alive to need it.
      try writePrivately(try StoreDocument.encode(record), to: work + "/snapshot.json", synced: false)
      let final = path(of: key)
      guard rename(work, final) == 0 else { throw ImageError.call("rename", final, errno) }
    } catch {
      try? directory.discard(work)
      throw error
    }
  }

  private func makeVolumes(
    _ volumes: [String], of record: SnapshotRecord, in work: String, _ check: @escaping @Sendable () throws -> Void
  ) throws {
    guard !volumes.isEmpty else { return }
    let copy = VolumeCopy(
      image: try openMergedView(record.chainIDs.reversed().map(directory.diff)), limits: configuration.limits,
      check: check)
    try makeDirectory(work + "/volumes")
    for (index, volume) in volumes.enumerated() {
      let target = "\(work)/volumes/\(index)"
      try makeDirectory(target)
      let opened = try openTrustedDirectory(target)
      // Of a volume that the image has nothing in; the daemon's umask is 077.
      try EntryAttributes(uid: 0, gid: 0, mode: 0o755).apply(to: opened, path: .root)
      try copy.copy(volume, to: opened)
    }
  }

  private func makeDirectory(_ path: String) throws(ImageError) {
    guard mkdir(path, 0o700) == 0 else { throw ImageError.call("mkdir", path, errno) }
  }

  /// Reads what is on disk; called before anybody else can.
  func recoverSnapshots() throws(ImageError) {
    for name in try entries(of: openTrustedDirectory(directory.snapshots)) {
      let text = String(decoding: name, as: UTF8.self)
      guard let key = Identifier(text) else {
        logger.warning("not a snapshot", metadata: ["path": "\(directory.snapshots)/\(text)"])
        continue
      }
      let file = path(of: key) + "/snapshot.json"
      guard let record = try StoreDocument.read(SnapshotRecord.self, file, limit: 1 << 20) else {
        logger.warning("snapshot record cannot be read", metadata: ["path": "\(file)"])
        snapshots.withLock { $0[key] = SnapshotRecord(image: ContentDigest(of: []), chainIDs: []) }
        continue
      }
      layers.hold(record.held)
      snapshots.withLock { $0[key] = record }
      if let missing = record.held.first(where: { !layers.contains($0) }) {
        logger.error("a layer of a snapshot is missing", metadata: ["snapshot": "\(key)", "layer": "\(missing)"])
      }
    }
  }
}
