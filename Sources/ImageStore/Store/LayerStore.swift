import CLinux
import FoundationEssentials
import Glibc
import LinuxSystem
import Synchronization

/// Unpacked layers by chain id, who uses them, and what they take.
///
/// A layer is used by images, by snapshots and by pulls under way; one that nobody uses is removed. All methods block
/// and belong on a thread of a pool, but for ``usage`` and ``contains(_:)``.
final class LayerStore: Sendable {
  private struct State {
    var sizes: [ContentDigest: LayerSize] = [:]
    var users: [ContentDigest: Int] = [:]
    var total = LayerSize()

    mutating func add(_ chain: ContentDigest, _ size: LayerSize) {
      guard sizes.updateValue(size, forKey: chain) == nil else { return }
      total.bytes += size.bytes
      total.inodes += size.inodes
    }

    mutating func remove(_ chain: ContentDigest) {
      guard let size = sizes.removeValue(forKey: chain) else { return }
      total.bytes -= size.bytes
      total.inodes -= size.inodes
    }
  }

  let directory: StoreDirectory
  private let limits: ImageLimits
  private let sweeper: Sweeper
  private let state = Mutex(State())
  /// Held while a layer gets or loses its final name, together with the change of `state` that goes with it.
  private let naming = Mutex(())

  init(_ directory: StoreDirectory, limits: ImageLimits, sweeper: Sweeper) {
    self.directory = directory
    self.sweeper = sweeper
    self.limits = limits
  }

  /// What all layers take.
  var usage: LayerSize { state.withLock { $0.total } }

  func contains(_ chain: ContentDigest) -> Bool { state.withLock { $0.sizes[chain] != nil } }

  func size(of chains: [ContentDigest]) -> LayerSize {
    state.withLock { state in
      chains.reduce(into: LayerSize()) { sum, chain in
        sum.bytes += state.sizes[chain]?.bytes ?? 0
        sum.inodes += state.sizes[chain]?.inodes ?? 0
      }
    }
  }

  /// Reads what is on disk. Called once, before anything else.
  ///
  /// - Returns: names that are no layers.
  /// - Throws: of kind `unsupported` for a layer of a later version; nothing was changed then.
  func open() throws(ImageError) -> [String] {
    var strangers: [String] = []
    for name in try entries(of: openTrustedDirectory(directory.layers)) {
      let text = String(decoding: name, as: UTF8.self)
      guard let chain = ContentDigest(sha256Hex: text), let record = try read(chain) else {
        strangers.append("\(directory.layers)/\(text)")
        continue
      }
      state.withLock { $0.add(chain, record.size) }
    }
    return strangers
  }

  private func read(_ chain: ContentDigest) throws(ImageError) -> LayerRecord? {
    var found = stat()
    guard lstat(directory.diff(chain), &found) == 0, found.isDirectory else { return nil }
    return try StoreDocument.read(LayerRecord.self, directory.layer(chain) + "/layer.json", limit: 64 << 10)
  }

  /// Keeps layers from removal, be they here already or not, until ``release(_:)``.
  func hold(_ chains: [ContentDigest]) {
    state.withLock { state in
      for chain in chains { state.users[chain, default: 0] += 1 }
    }
  }

  /// As ``hold(_:)``, if all are here.
  func holdIfPresent(_ chains: [ContentDigest]) -> Bool {
    state.withLock { state in
      guard chains.allSatisfy({ state.sizes[$0] != nil }) else { return false }
      for chain in chains { state.users[chain, default: 0] += 1 }
      return true
    }
  }

  /// Undoes ``hold(_:)``; takes the names of layers that nobody uses any more.
  ///
  /// - Returns: directories below `tmp` to discard.
  func release(_ chains: [ContentDigest]) throws(ImageError) -> [String] {
    try naming.withLock { (_) throws(ImageError) -> [String] in
      let unused = state.withLock { state in
        chains.filter { chain in
          let users = (state.users[chain] ?? 0) - 1
          state.users[chain] = users > 0 ? users : nil
          return users <= 0 && state.sizes[chain] != nil
        }
      }
      return try setAside(unused)
    }
  }

  /// As ``release(_:)`` for all layers that were never held.
  func collect() throws(ImageError) -> [String] {
    try naming.withLock { (_) throws(ImageError) -> [String] in
      try setAside(state.withLock { state in state.sizes.keys.filter { state.users[$0] == nil } })
    }
  }

  private func setAside(_ chains: [ContentDigest]) throws(ImageError) -> [String] {
    var aside: [String] = []
    for chain in chains {
      if let path = try directory.setAside(directory.layer(chain)) { aside.append(path) }
      state.withLock { $0.remove(chain) }
    }
    return aside
  }

  /// Unpacks a layer, checks it and gives it its name. The layers below must be here and held.
  ///
  /// - Throws: ``ImageError``; `CancellationError`.
  func unpack(
    _ blob: SharedFD, _ layer: ImageLayer, above below: [ContentDigest], cancellation: CancellationFlag
  ) throws {
    if contains(layer.chainID) { return }
    try requireSpace(limits.reserveBytes, at: directory.temporary)
    let work = directory.temporaryName("layer")
    do {
      try PrivateDirectory.make(work)
      try PrivateDirectory.make(work + "/diff")
      let size = try write(blob, layer, into: work, above: below, cancellation: cancellation)
      let record = LayerRecord(diffID: layer.diffID, size: size)
      try writePrivately(try StoreDocument.encode(record), to: work + "/layer.json", synced: false)
      try cancellation.check()
      let synced = clinux_fs_syncfs(directory.temporary.raw)
      guard synced == 0 else { throw ImageError.call("sync", "the image store", -synced) }
      try name(work, layer.chainID, size)
    } catch {
      sweeper.discard([work])
      throw error as? SystemCallError == nil ? error : ImageError(.system, "unpack layer \(layer.diffID): \(error)")
    }
  }

  private func write(
    _ blob: SharedFD, _ layer: ImageLayer, into work: String, above below: [ContentDigest],
    cancellation: CancellationFlag
  ) throws -> LayerSize {
    do {
      let compression = Compression(of: blob)
      let file = FileSource(blob)
      let plain: any ByteSource = compression == .none ? file : try DecompressingSource(file, compression)
      let source = MeasuringSource(
        plain, digest: layer.diffID.algorithm, limit: limits.expandedBytes, cancellation: cancellation)
      let lower = below.isEmpty ? nil : try openMergedView(below.reversed().map(directory.diff))
      var writer = try LayerWriter(
        root: openTrustedDirectory(work + "/diff"), lower: lower, scratch: openTrustedDirectory(work), limits: limits,
        check: { try cancellation.check() })
      let tar = try TarReader(source, limits: limits)
      while let entry = try tar.next() {
        try cancellation.check()
        try writer.apply(entry) { try tar.readData($0) }
      }
      try source.drain()
      let digest = source.digest
      guard digest == layer.diffID else {
        throw ImageError(.corrupt, "its content has the digest \(digest?.text ?? "")")
      }
      try writer.finish()
      return writer.size
    } catch let error as ImageError {
      throw ImageError(error.kind, "layer \(layer.diffID): \(error.message)")
    }
  }

  private func name(_ work: String, _ chain: ContentDigest, _ size: LayerSize) throws(ImageError) {
    let path = directory.layer(chain)
    try naming.withLock { (_) throws(ImageError) in
      // Somebody else was faster: theirs is as good.
      if contains(chain) { return sweeper.discard([work]) }
      // A directory that no record knows is left of something that went wrong.
      if let aside = try directory.setAside(path) { sweeper.discard([aside]) }
      guard rename(work, path) == 0 else { throw ImageError.call("rename", path, errno) }
      state.withLock { $0.add(chain, size) }
    }
    try syncDirectory(of: path)
  }
}
