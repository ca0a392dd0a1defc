/// One image of the store, as it was when asked for.
package struct Image: Sendable, Hashable {
  /// `sha256:` and the digest of the config blob; the same string wherever an image is named by id.
  package var id: String
  /// In normal form (`docker.io/library/busybox:latest`), sorted.
  package var repoTags: [String]
  /// `name@sha256:…` of what the name resolved to (the index of a multi-platform image), sorted.
  package var repoDigests: [String]
  /// Bytes that its layers take on disk, unpacked; never 0.
  package var size: UInt64
  /// What the image says about the process to run.
  package var config: ImageConfiguration
  /// The config blob as it came, for verbose answers.
  package var configJSON: String
  /// Lowest first.
  package var layers: [ImageLayer]

  /// The chain id of the topmost layer, `sha256:…`; empty for an image without layers.
  package var chainID: String { layers.last.map { $0.chainID.text } ?? "" }
}

/// One layer of an image.
package struct ImageLayer: Sendable, Hashable, Codable {
  /// Digest of the uncompressed tar.
  package var diffID: ContentDigest
  /// Names the layer together with all below it; the key of its directory.
  package var chainID: ContentDigest
}

extension ImageLayer {
  /// The layers of these diff ids, lowest first, with the chain id of each (OCI image-spec, config.md, "Layer ChainID").
  static func chain(of diffIDs: [ContentDigest]) -> [ImageLayer] {
    var layers: [ImageLayer] = []
    for diffID in diffIDs {
      let chainID = layers.last.map { ContentDigest(of: "\($0.chainID) \(diffID)".utf8) } ?? diffID
      layers.append(ImageLayer(diffID: diffID, chainID: chainID))
    }
    return layers
  }
}

/// The parts of an image's config that reach a container (OCI image-spec, config.md).
package struct ImageConfiguration: Sendable, Hashable, Codable {
  /// `uid`, `name`, `uid:gid`, `name:group` or a mix; empty: root.
  package var user = ""
  /// `KEY=value`, in the image's order.
  package var env: [String] = []
  /// First words of the command line; what CRI `command` replaces.
  package var entrypoint: [String] = []
  /// Last words of the command line; what CRI `args` replaces.
  package var cmd: [String] = []
  /// Empty: `/`.
  package var workingDir = ""
  /// Paths of declared volumes, sorted.
  package var volumes: [String] = []
  /// Name or number; empty: SIGTERM.
  package var stopSignal = ""
  /// Copied to nobody but clients that ask (ATTACKS.md V7).
  package var labels: [String: String] = [:]
  /// `GOARCH` word, e.g. `amd64`.
  package var architecture = ""
  /// `GOOS` word, `linux`.
  package var os = ""

  package init() {}
}

/// The directories of one container's root: its writable layer over the layers of an image. Nothing of it is mounted
/// on the node; who runs the container mounts them in that container's own mount namespace.
package struct Snapshot: Sendable, Hashable {
  /// Absolute, topmost first, for overlay's `lowerdir`.
  package var lowerDirectories: [String]
  /// Absolute; its mode and owner are those of the image's root.
  package var upperDirectory: String
  /// Absolute, empty, on the same filesystem as `upperDirectory`.
  package var workDirectory: String
}

/// What images and layers take on their filesystem.
package struct FilesystemUsage: Sendable, Hashable {
  /// A directory on that filesystem: the store's root.
  package var mountpoint: String
  /// Bytes of unpacked layers.
  package var usedBytes: UInt64
  /// Files, directories, links and nodes of unpacked layers.
  package var inodesUsed: UInt64
  /// Wall clock, nanoseconds since 1970.
  package var timestamp: Int64
}
