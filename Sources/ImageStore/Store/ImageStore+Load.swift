import FoundationEssentials
import Glibc
import LinuxSystem
import Logging

extension ImageStore {
  /// Takes the images of an OCI layout tar or a `docker save` tar, gzip'd, zstd'd or plain.
  ///
  /// Names come from `io.containerd.image.name`, from `org.opencontainers.image.ref.name` where it is a whole reference,
  /// and from `RepoTags`; an image without a name is there by its id.
  ///
  /// - Throws: ``ImageError``, or `CancellationError`.
  package func load(archivePath: String) async throws -> [Image] {
    let limits = configuration.limits
    let found = try await cancellably { [directory] flag in
      let descriptor = open(archivePath, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
      guard descriptor >= 0 else {
        throw errno == ENOENT
          ? ImageError(.notFound, "there is no archive \(archivePath)")
          : ImageError.call("open", archivePath, errno)
      }
      let archive = SharedFD(owning: descriptor)
      guard try status(of: archive).isRegular else { throw ImageError(.malformed, "\(archivePath) is not a file") }
      do {
        let contents = try ArchiveContents(archive, into: directory, limits: limits, cancellation: flag)
        return try ArchivedImage.all(in: contents, limits: limits)
      } catch let error as ImageError {
        throw ImageError(error.kind, "\(archivePath): \(error.message)")
      }
    }
    var images: [Image] = []
    for image in found {
      let loaded = try await install(image)
      if !images.contains(where: { $0.id == loaded.id }) { images.append(loaded) }
    }
    // Names may have moved between images of one archive.
    return images.compactMap { image in (try? find(image.id)) ?? nil }
  }

  private func install(_ image: ArchivedImage) async throws -> Image {
    let document = image.document
    let chains = document.layers.map(\.chainID)
    layers.hold(chains)
    do {
      for (index, layer) in document.layers.enumerated() {
        try await unpack(layer, above: Array(chains[..<index]), from: image.blobs[index])
      }
      try await durable.run { [self] in try commit(document, tags: image.tags, digests: image.digests) }
    } catch {
      try await releaseLayers(chains)
      throw error
    }
    try await releaseLayers(chains)
    logger.info("image loaded", metadata: ["image": "\(document.id)", "tags": "\(image.tags.sorted())"])
    guard let result = try find(document.id.text) else {
      throw ImageError(.notFound, "image \(document.id) was removed while it was loaded")
    }
    return result
  }

  /// Runs blocking work that looks at a flag now and then, set when the task is cancelled.
  func cancellably<T: Sendable>(_ body: @escaping @Sendable (CancellationFlag) throws -> T) async throws -> T {
    let flag = CancellationFlag()
    return try await withTaskCancellationHandler {
      try await slow.run { try body(flag) }
    } onCancel: {
      flag.set()
    }
  }
}

/// One image of an archive: checked documents, layers yet to unpack.
struct ArchivedImage: Sendable {
  var document: ConfigurationDocument
  /// Lowest first, one for each layer.
  var blobs: [TemporaryFile]
  var tags: Set<String>
  var digests: Set<String>

  /// - Throws: ``ImageError``: `malformed`, `corrupt`, `limit`, `noPlatform`.
  static func all(in contents: ArchiveContents, limits: ImageLimits) throws -> [ArchivedImage] {
    if contents.files["index.json"] != nil { return try fromLayout(contents, limits: limits) }
    if contents.files["manifest.json"] != nil { return try fromDocker(contents, limits: limits) }
    throw ImageError(.malformed, "neither an OCI layout (index.json) nor a docker archive (manifest.json)")
  }

  private init(
    config: [UInt8], blobs: [ArchiveContents.File], tags: Set<String>, digests: Set<String>, limits: ImageLimits,
    name: String
  ) throws(ImageError) {
    document = try ConfigurationDocument(config, limits: limits, name: name)
    guard document.layers.count == blobs.count else {
      throw ImageError(.malformed, "\(name) names \(document.layers.count) layers and its manifest \(blobs.count)")
    }
    self.blobs = blobs.map(\.blob)
    self.tags = tags
    self.digests = digests
  }
}

// MARK: - docker save

extension ArchivedImage {
  private struct DockerImage: Decodable {
    var Config: String
    var RepoTags: [String]?
    var Layers: [String]?
  }

  private static func fromDocker(_ contents: ArchiveContents, limits: ImageLimits) throws -> [ArchivedImage] {
    let list = try contents.file("manifest.json").bytes(limit: limits.manifestBytes, name: "manifest.json")
    return try decodeDocument([DockerImage].self, list, "manifest.json").map { image in
      let name = "config \(image.Config.prefix(200))"
      let config = try contents.file(image.Config).bytes(limit: limits.configurationBytes, name: name)
      let tags = try (image.RepoTags ?? []).map { try ImageReference($0).description }
      return try ArchivedImage(
        config: config, blobs: try (image.Layers ?? []).map { try contents.file($0) }, tags: Set(tags), digests: [],
        limits: limits, name: name)
    }
  }
}

// MARK: - OCI layout

extension ArchivedImage {
  private static func fromLayout(_ contents: ArchiveContents, limits: ImageLimits) throws -> [ArchivedImage] {
    let bytes = try contents.file("index.json").bytes(limit: limits.manifestBytes, name: "index.json")
    guard case .index(let descriptors) = try ManifestDocument(bytes, mediaType: nil, name: "index.json") else {
      throw ImageError(.malformed, "index.json is not an index")
    }
    guard descriptors.count <= limits.descriptors else {
      throw ImageError(.limit, "index.json has \(descriptors.count) images, of \(limits.descriptors) allowed")
    }
    var images: [ArchivedImage] = []
    var foreign: ImageError?
    var budget = limits.descriptors
    for descriptor in descriptors {
      do {
        images.append(try image(descriptor, in: contents, limits: limits, budget: &budget))
      } catch let error as ImageError where error.kind == .noPlatform {
        foreign = error
      }
    }
    if images.isEmpty { throw foreign ?? ImageError(.malformed, "index.json names no image") }
    return images
  }

  private static func image(
    _ top: Descriptor, in contents: ArchiveContents, limits: ImageLimits, budget: inout Int
  ) throws -> ArchivedImage {
    if let platform = top.platform, platform.os != "linux" || platform.architecture != "amd64" {
      throw ImageError(.noPlatform, "index.json has no image for linux/amd64; it has: \(platform.text)")
    }
    var descriptor = top
    for _ in 0...limits.indexDepth {
      let name = "manifest \(descriptor.digest)"
      let bytes = try contents.blob(descriptor).bytes(limit: limits.manifestBytes, name: name)
      switch try ManifestDocument(bytes, mediaType: descriptor.mediaType, name: name) {
      case .index(let inner):
        budget -= inner.count
        guard budget >= 0 else { throw ImageError(.limit, "\(name): more than \(limits.descriptors) descriptors") }
        descriptor = try inner.forThisMachine(name)
      case .manifest(let config, let layers):
        let names = try Self.names(of: top)
        return try ArchivedImage(
          config: try contents.blob(config).bytes(limit: limits.configurationBytes, name: "config \(config.digest)"),
          blobs: try layers.map { try contents.blob($0) }, tags: names.tags, digests: names.digests, limits: limits,
          name: "config \(config.digest)")
      }
    }
    throw ImageError(.limit, "index \(top.digest) is deeper than \(limits.indexDepth)")
  }

  private static func names(of top: Descriptor) throws(ImageError) -> (tags: Set<String>, digests: Set<String>) {
    let annotations = top.annotations ?? [:]
    // A bare word is a tag without a name (image-spec, annotations.md), of which nothing can be made.
    let inner = annotations["org.opencontainers.image.ref.name"].flatMap {
      $0.contains { "/:".contains($0) } ? $0 : nil
    }
    guard let text = annotations["io.containerd.image.name"] ?? inner else { return ([], []) }
    let reference = try ImageReference(text)
    let digest = "\(reference.name)@\(top.digest)"
    return (reference.digest == nil ? [reference.description] : [], [digest])
  }
}
