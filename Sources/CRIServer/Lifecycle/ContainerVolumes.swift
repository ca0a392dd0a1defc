import CDI
import CRIProtocol
import ImageStore
import LinuxSystem
import RuntimeModel
import SystemPackage

/// What a container to be has of images beside its root: those that the request mounts, and its own image's `VOLUME`s.
struct ContainerVolumes: Sendable {
  let declared: DeclaredVolumes
  /// By the index of the mount.
  private var mounted: [Int: Image] = [:]

  /// Finds and checks all of it; nothing is made yet.
  ///
  /// - Throws: `RuntimeError`, for a mounted image with a text that begins with ``ImageVolume/failure``.
  init(daemon: Daemon, config: Runtime_V1_ContainerConfig, image: Image) async throws {
    guard config.mounts.count <= MountPlan.most else {
      throw RuntimeError(
        .invalidArgument, "mounts: \(config.mounts.count) of them are more than the \(MountPlan.most) that are made")
    }
    try MountPlan.checkLabels(config.mounts, hasSELinux: SecurityModules.node.hasSELinux)
    let volumes = daemon.configuration.ignoresImageVolumes ? [] : image.config.volumes
    declared = try DeclaredVolumes(volumes, requested: config.mounts, image: config.image.image)
    for (index, mount) in config.mounts.enumerated() where mount.wantsImage {
      mounted[index] = try await Self.find(mount, field: "mounts[\(index)]", in: daemon.images)
    }
  }

  /// The images to keep while the container is there.
  var images: [Image] { mounted.sorted { $0.key < $1.key }.map(\.value) }
  /// For the record; nil: none.
  var imageIDs: [Int: String]? { mounted.isEmpty ? nil : mounted.mapValues(\.id) }

  func extras(of id: Identifier, in store: ImageStore, injected: ContainerEdits) -> MountPlan.Extras {
    MountPlan.Extras(
      images: mounted.mapValues { ImageVolume(imageID: $0.id, layers: store.overlayDirectories(of: $0)) },
      volumes: declared.paths,
      volumeDirectories: declared.paths.indices.map { store.volumeDirectory($0, of: id) }, injected: injected.mounts)
  }

  private static func find(_ mount: Runtime_V1_Mount, field: String, in store: ImageStore) async throws -> Image {
    try ImageVolume.check(mount, field: field)
    let name = mount.image.image
    let subject = "\(ImageVolume.failure): \(field).image"
    let image: Image
    do {
      guard let found = try store.find(name) else {
        throw RuntimeError(.notFound, "\(subject): image \"\(name)\" is not on this node; pull it first")
      }
      image = found
    } catch let error as ImageError {
      throw RuntimeError(.invalidArgument, "\(subject): \(error.message)")
    }
    if !mount.imageSubPath.isEmpty {
      try await check(mount.imageSubPath, of: image, field: "\(field).image_sub_path", in: store)
    }
    return image
  }

  /// The kernel resolves the path inside the image; the shim does so again when the container starts.
  private static func check(_ path: String, of image: Image, field: String, in store: ImageStore) async throws {
    do {
      try await store.withRoot(of: image) { root in
        let status = try root.status(path)
        guard status.isDirectory else {
          throw RuntimeError(.invalidArgument, "\(ImageVolume.failure): \(field): \"\(path)\" is no directory")
        }
      }
    } catch let error as SystemCallError {
      let isMissing = error.errno == .noSuchFileOrDirectory || error.errno == .notDirectory
      throw RuntimeError(
        isMissing ? .notFound : .internalError,
        "\(ImageVolume.failure): \(field): \"\(path)\" is not in image \(image.id): \(error)")
    }
  }
}

extension Daemon {
  /// What the CDI devices of a request bring; the specifications are read now.
  func edits(of config: Runtime_V1_ContainerConfig) async throws -> ContainerEdits {
    let names = try RequestedDevices(config).names
    guard !names.isEmpty else { return ContainerEdits() }
    return try await threads.run { [specs = configuration.deviceSpecs] in try specs.edits(of: names) }
  }
}
