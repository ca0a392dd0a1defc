package import FoundationEssentials

/// What is written about a container, before and after each change to it.
package struct ContainerRecord: Sendable, Hashable, Codable {
  /// Derived from the times, never stored.
  package enum State: Sendable { case created, running, exited }

  package var id: Identifier
  package var sandboxID: Identifier
  package var metadata: ContainerMetadata
  /// Wall clock, nanoseconds since 1970.
  package var createdAt: Int64
  /// 0 until the program was exec'd.
  package var startedAt: Int64
  /// 0 until it ended, or failed to start.
  package var finishedAt: Int64
  package var exitCode: Int32
  /// CamelCase: Completed, Error, OOMKilled, StartError, Unknown; empty before the end.
  package var reason: String
  package var message: String
  /// `sha256:<hex>` of the image's config; the same string as `Image.id`.
  package var imageID: String
  /// What Status shows as image.image and image_ref; they survive the image's removal.
  package var imageName: String
  package var imageReference: String
  /// The request's ContainerConfig as it came, in protobuf.
  package var config: Data
  /// Everything StartContainer hands to the shim: a `swiftlet.shim.v1.StartRequest` in protobuf, but for the cgroup and
  /// the seccomp program, which are made at the start.
  package var startRequest: Data
  /// The process and its execs run under the RuntimeDefault seccomp profile.
  package var usesDefaultSeccomp: Bool
  package var isPrivileged: Bool
  /// What the device cgroup allows beside the defaults.
  package var allowedDevices: [AllowedDevice]
  /// Kernel's number.
  package var stopSignal: UInt32
  /// Absolute; empty: no log.
  package var logPath: String
  /// StartContainer has begun (intent, written before the effect).
  package var isStarting: Bool
  package var process: ProcessIdentity?
  /// Ids of the images that the request's mounts show, by the mount's index; nil: none.
  package var mountedImages: [Int: String]?
  /// Bytes of its log that could not be written; nil: none, or it runs.
  package var logLostBytes: UInt64?
  /// A LinuxContainerResources in protobuf: the config's with every update since; nil: never updated.
  package var resources: Data?

  package var state: State {
    if finishedAt != 0 { return .exited }
    return startedAt != 0 ? .running : .created
  }

  package init(
    id: Identifier, sandboxID: Identifier, metadata: ContainerMetadata, createdAt: Int64, imageID: String,
    imageName: String, imageReference: String, config: Data, startRequest: Data, usesDefaultSeccomp: Bool,
    isPrivileged: Bool, allowedDevices: [AllowedDevice], stopSignal: UInt32, logPath: String
  ) {
    self.id = id
    self.sandboxID = sandboxID
    self.metadata = metadata
    self.createdAt = createdAt
    self.startedAt = 0
    self.finishedAt = 0
    self.exitCode = 0
    self.reason = ""
    self.message = ""
    self.imageID = imageID
    self.imageName = imageName
    self.imageReference = imageReference
    self.config = config
    self.startRequest = startRequest
    self.usesDefaultSeccomp = usesDefaultSeccomp
    self.isPrivileged = isPrivileged
    self.allowedDevices = allowedDevices
    self.stopSignal = stopSignal
    self.logPath = logPath
    self.isStarting = false
    self.process = nil
    self.mountedImages = nil
    self.logLostBytes = nil
    self.resources = nil
  }
}
