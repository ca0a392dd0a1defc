import CDI
import CRIProtocol
import FoundationEssentials
import ImageStore
import LinuxSystem
import RuntimeModel
import ShimProtocol
import Store
import SwiftProtobuf

/// One CreateContainer from the image to the record.
struct ContainerCreation: Sendable {
  let daemon: Daemon
  let sandbox: Sandbox
  let stages: Stages

  func run(
    _ metadata: ContainerMetadata, _ request: Runtime_V1_CreateContainerRequest
  ) async throws -> Identifier {
    let config = request.config
    try daemon.cgroups.check(Cgroup.Limits(config.linux.resources), prefix: "linux.resources.")
    stages.begin("resolve image")
    let image = try image(config)
    let id = Identifier.random()
    stages.begin("read users")
    let users = try await daemon.users.database(of: image)
    let logDirectory =
      request.hasSandboxConfig ? request.sandboxConfig.logDirectory : sandbox.config.logDirectory
    stages.begin("resolve volumes and devices")
    let volumes = try await ContainerVolumes(daemon: daemon, config: config, image: image)
    let injected = try await daemon.edits(of: config)
    var spec = try await spec(
      of: config,
      in: surroundings(
        id, config, image: image, users: users, logDirectory: logDirectory, volumes: volumes, injected: injected))
    if spec.request.namespaces.pid == .target {
      _ = try daemon.target(spec.request.namespaces.targetID, in: sandbox.id)
    }
    if sandbox.namespaces.users != nil { try await daemon.checkIDMaps(config.mounts, injected.mounts, of: sandbox) }
    try await daemon.addLocalhostSeccomp(to: &spec)
    try await daemon.unwritten.requireNone()
    stages.begin("prepare snapshot")
    let snapshot = try await daemon.images.prepareSnapshot(
      image: image, key: id, volumes: volumes.declared.paths, mounted: volumes.images,
      owner: sandbox.namespaces.users, check: checkSandbox)
    do {
      stages.begin("write record")
      try await daemon.pass(.createRecord)
      let record = try record(
        id, metadata, config, image: image, spec: spec, snapshot: snapshot, mountedImages: volumes.imageIDs)
      try await insert(record, config)
    } catch {
      try await daemon.images.removeSnapshot(key: id)
      throw error
    }
    try await daemon.pass(.createAnswer)
    return id
  }

  /// A copy of large volumes goes on after its caller's deadline, for the retry (CRI.md 0.3), but not without its pod.
  @Sendable private func checkSandbox() throws(RuntimeError) {
    guard sandbox.isReady && sandbox.isListed else {
      throw RuntimeError(.failedPrecondition, "\(sandbox.subject) is not ready any more")
    }
  }

  /// Not while the sandbox is being stopped or removed: that would not see the container.
  /// - Throws: `failedPrecondition` when that has come first.
  private func insert(_ record: ContainerRecord, _ config: Runtime_V1_ContainerConfig) async throws {
    try await sandbox.lane.run {
      try checkSandbox()
      try await daemon.threads.run { [daemon] in try daemon.store.insert(record) }
      daemon.containers.insert(
        Container(record: record, config: config), id: record.id, name: record.metadata.key(in: sandbox.id))
    }
  }

  /// - Throws: `notFound` when the image is not on this node.
  private func image(_ config: Runtime_V1_ContainerConfig) throws -> Image {
    let name = config.image.image
    guard !name.isEmpty else { throw RuntimeError(.invalidArgument, "config.image.image is empty") }
    guard let image = try daemon.images.find(name) else {
      throw RuntimeError(.notFound, "config.image.image: image \"\(name)\" is not on this node; pull it first")
    }
    return image
  }

  private func spec(
    of config: Runtime_V1_ContainerConfig, in around: ContainerSpec.Surroundings
  ) async throws -> ContainerSpec {
    let looksAtHostPaths =
      config.asksPropagation || !config.devices.isEmpty || !around.injected.nodes.isEmpty
      || config.linux.securityContext.privileged
    guard looksAtHostPaths else { return try ContainerSpec(config, in: around) }
    return try await daemon.hostPaths.run { try ContainerSpec(config, in: around) }
  }

  private func surroundings(
    _ id: Identifier, _ config: Runtime_V1_ContainerConfig, image: Image, users: UserDatabase, logDirectory: String,
    volumes: ContainerVolumes, injected: ContainerEdits
  ) throws -> ContainerSpec.Surroundings {
    let files = SandboxFiles(directory: daemon.configuration.runDirectory(of: sandbox.id.value))
    return ContainerSpec.Surroundings(
      containerID: id, image: ContainerSpec.ImageDefaults(image.config), users: users,
      sandboxNamespaces: sandbox.namespaces,
      sandboxIsPrivileged: sandbox.config.linux.securityContext.privileged,
      hostname: sandbox.config.effectiveHostname(sandbox.namespaces),
      files: files.plan, rootMountpoint: files.rootMountpoint, logDirectory: logDirectory,
      cgroup: daemon.cgroups.cgroup(at: "\(sandbox.record.cgroupParent)/\(id)"),
      availableCapabilities: daemon.availableCapabilities,
      hostMounts: HostMounts(
        mountinfo: config.asksPropagation ? try HostFiles.read("/proc/self/mountinfo", limit: 16 << 20) ?? "" : ""),
      hostDevices: HostDevices(), ownsDevices: daemon.configuration.ownsDevices,
      extras: volumes.extras(of: id, in: daemon.images, injected: injected), injected: injected)
  }

  private func record(
    _ id: Identifier, _ metadata: ContainerMetadata, _ config: Runtime_V1_ContainerConfig, image: Image,
    spec: ContainerSpec, snapshot: Snapshot, mountedImages: [Int: String]?
  ) throws -> ContainerRecord {
    var start = spec.request
    start.rootfs.lower = snapshot.lowerDirectories
    start.rootfs.upper = snapshot.upperDirectory
    start.rootfs.work = snapshot.workDirectory
    if sandbox.namespaces.users != nil { start.layerDirectory = daemon.images.layerDirectory }
    var record = ContainerRecord(
      id: id, sandboxID: sandbox.id, metadata: metadata, createdAt: WallClock.now(), imageID: image.id,
      imageName: image.repoTags.first ?? config.image.image, imageReference: image.repoDigests.first ?? image.id,
      config: try config.serializedBytes(), startRequest: try start.serializedBytes(),
      usesDefaultSeccomp: spec.seccomp == .runtimeDefault,
      isPrivileged: config.linux.securityContext.privileged, allowedDevices: spec.allowedDevices,
      stopSignal: spec.stopSignal, logPath: start.logPath)
    record.mountedImages = mountedImages
    return record
  }
}

extension Runtime_V1_ContainerConfig {
  fileprivate var asksPropagation: Bool { mounts.contains { $0.propagation != .propagationPrivate } }
}

extension ContainerSpec.ImageDefaults {
  fileprivate init(_ config: ImageConfiguration) {
    self.init(
      user: config.user, environment: config.env, entrypoint: config.entrypoint, command: config.cmd,
      workingDirectory: config.workingDir, stopSignal: config.stopSignal)
  }
}
