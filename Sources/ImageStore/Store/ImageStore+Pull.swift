import LinuxSystem
import Logging
import Synchronization

/// What makes two pulls the same.
struct PullKey: Hashable, Sendable {
  var reference: ImageReference
  var secret: Secret
}

/// What makes two downloads the same. Another caller's credentials may be refused where ours are not.
struct DownloadKey: Hashable, Sendable {
  var digest: ContentDigest
  var repository: String
  var secret: Secret
}

extension ImageStore {
  /// Brings an image here. Asked for twice at the same time it is downloaded once. Cancel the task to give up.
  ///
  /// - Throws: ``ImageError``, or `CancellationError`.
  package func pull(_ reference: String, credentials: RegistryCredentials?) async throws -> Image {
    let repository = registry.repository(try ImageReference(reference), credentials)
    let key = PullKey(reference: repository.reference, secret: repository.secret)
    let id = try await pulls.run(key) { [self] in try await fetch(repository) }
    guard let image = try find(id.text) else {
      throw ImageError(.notFound, "image \(repository.reference) was removed while it was pulled")
    }
    return image
  }

  private func fetch(_ repository: RegistryClient.Repository) async throws -> ContentDigest {
    let start = ContinuousClock.now
    let resolved = try await registry.resolve(repository)
    let resolvedAt = ContinuousClock.now
    let document = resolved.document
    let chains = document.layers.map(\.chainID)
    layers.hold(chains)
    do {
      try await bring(resolved, from: repository)
      let reference = repository.reference
      let tags: Set<String> = reference.digest == nil ? [reference.description] : []
      let digests: Set<String> = ["\(reference.name)@\(resolved.digest)"]
      try await durable.run { [self] in try commit(document, tags: tags, digests: digests) }
    } catch {
      try await releaseLayers(chains)
      throw error
    }
    try await releaseLayers(chains)
    logger.info(
      "image pulled",
      metadata: [
        "image": "\(document.id)", "reference": "\(repository.reference)",
        "resolve": "\(resolvedAt - start)", "layers": "\(ContinuousClock.now - resolvedAt)",
      ])
    return document.id
  }

  /// Downloads what is missing, a few blobs at a time, and unpacks it in order.
  private func bring(_ resolved: ResolvedImage, from repository: RegistryClient.Repository) async throws {
    let wanted = resolved.document.layers
    let chains = wanted.map(\.chainID)
    let missing = wanted.indices.filter { !layers.contains(chains[$0]) }
    guard !missing.isEmpty else { return }
    try await withThrowingTaskGroup(of: (Int, TemporaryFile).self) { group in
      var begun = 0
      func begin() {
        guard begun < missing.count else { return }
        let index = missing[begun]
        begun += 1
        group.addTask { [self] in (index, try await download(resolved.blobs[index], from: repository)) }
      }
      for _ in 0..<max(1, configuration.parallelDownloads) { begin() }
      var here: [Int: TemporaryFile] = [:]
      for index in missing {
        while here[index] == nil, let (arrived, blob) = try await group.next() {
          here[arrived] = blob
          begin()
        }
        guard let blob = here.removeValue(forKey: index) else { continue }
        try await unpack(wanted[index], above: Array(chains[..<index]), from: blob)
      }
    }
  }

  private func download(
    _ descriptor: Descriptor, from repository: RegistryClient.Repository
  ) async throws -> TemporaryFile {
    let key = DownloadKey(
      digest: descriptor.digest, repository: repository.reference.name, secret: repository.secret)
    return try await downloads.run(key) { [registry] in try await registry.download(repository, descriptor) }
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
