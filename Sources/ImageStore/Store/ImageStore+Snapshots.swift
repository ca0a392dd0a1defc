import FoundationEssentials
import Glibc
import LinuxSystem
import Logging
package import RuntimeModel
import Synchronization

extension ImageStore {
  /// Makes the directories of a container's root and keeps the image's layers until ``removeSnapshot(key:)``.
  ///
  /// - Parameter key: the container's id; nobody has it yet.
  /// - Throws: ``ImageError``: `notFound` when the image was removed, else `system` or `noSpace`.
  package func prepareSnapshot(image: Image, key: Identifier) async throws -> Snapshot {
    let chains = image.layers.map(\.chainID)
    guard let id = ContentDigest(image.id), !chains.isEmpty else {
      throw ImageError(.malformed, "image \(image.id) has no layers")
    }
    guard layers.holdIfPresent(chains) else { throw ImageError(.notFound, "image \(image.id) was removed") }
    let record = SnapshotRecord(image: id, chainIDs: chains)
    do {
      try await quick.run { [self] in try make(record, key) }
    } catch {
      try await releaseLayers(chains)
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
    try await releaseLayers(record.chainIDs)
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

  private func make(_ record: SnapshotRecord, _ key: Identifier) throws {
    let work = directory.temporaryName("snapshot")
    do {
      try makeDirectory(work)
      try makeDirectory(work + "/work")
      try makeDirectory(work + "/fs")
      // Overlay shows the upper directory's mode and owner as those of the root.
      if let top = record.chainIDs.last {
        let root = try status(of: openTrustedDirectory(directory.diff(top)))
        let upper = try openTrustedDirectory(work + "/fs")
        try EntryAttributes(uid: root.st_uid, gid: root.st_gid, mode: root.st_mode & 0o7777).apply(
          to: upper, path: .root)
      }
      // Not synced: after a power loss no container is alive to need it.
      try writePrivately(Array(try JSONEncoder().encode(record)), to: work + "/snapshot.json", synced: false)
      let final = path(of: key)
      guard rename(work, final) == 0 else { throw ImageError.call("rename", final, errno) }
    } catch {
      try? directory.discard(work)
      throw error
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
      guard
        let bytes = try? readStoreFile(file, limit: 1 << 20),
        let record = try? JSONDecoder().decode(SnapshotRecord.self, from: Data(bytes))
      else {
        logger.warning("snapshot record cannot be read", metadata: ["path": "\(file)"])
        snapshots.withLock { $0[key] = SnapshotRecord(image: ContentDigest(of: []), chainIDs: []) }
        continue
      }
      layers.hold(record.chainIDs)
      snapshots.withLock { $0[key] = record }
      if let missing = record.chainIDs.first(where: { !layers.contains($0) }) {
        logger.error("a layer of a snapshot is missing", metadata: ["snapshot": "\(key)", "layer": "\(missing)"])
      }
    }
  }
}
