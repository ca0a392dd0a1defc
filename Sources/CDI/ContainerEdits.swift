/// What a device adds to a container (CDI's SPEC.md, "OCI Edits").
package struct ContainerEdits: Sendable, Hashable {
  /// `KEY=value`, set after the request's.
  package var environment: [String] = []
  package var nodes: [DeviceNode] = []
  package var mounts: [EditMount] = []
  /// Without 0, which CDI ignores.
  package var additionalGIDs: [UInt32] = []
  /// Edits that are understood and not carried out, by their name in the file: `hooks`, `netDevices`, `intelRdt`.
  var refused: [String] = []

  package init() {}

  mutating func append(_ other: ContainerEdits) {
    environment += other.environment
    nodes += other.nodes
    mounts += other.mounts
    additionalGIDs += other.additionalGIDs
    refused += other.refused
  }

  var isEmpty: Bool { self == ContainerEdits() }
}

/// A device node that a container gets. What is nil is as on the node.
package struct DeviceNode: Sendable, Hashable {
  /// In the container.
  package var path: String
  /// On the node; the same as `path` unless the file says otherwise.
  package var hostPath: String
  /// `b`, `c`, `u` or `p`.
  package var type: String?
  package var major: UInt32?
  package var minor: UInt32?
  package var fileMode: UInt32?
  package var uid: UInt32?
  package var gid: UInt32?
  /// Some of `rwm`; empty: no access at all.
  package var permissions = "rwm"

  package init(path: String, hostPath: String) {
    self.path = path
    self.hostPath = hostPath
  }
}

/// A mount that a container gets.
package struct EditMount: Sendable, Hashable {
  package var hostPath: String
  package var containerPath: String
  /// As mount(8) has them.
  package var options: [String] = []
  /// Empty for a bind mount.
  package var type = ""

  package init(hostPath: String, containerPath: String, options: [String] = [], type: String = "") {
    self.hostPath = hostPath
    self.containerPath = containerPath
    self.options = options
    self.type = type
  }
}

/// One file: devices of one kind.
struct DeviceSpec: Sendable {
  /// Where it was read, for texts.
  var file: String
  var vendor: String
  var kindClass: String
  /// Of every device of the file.
  var edits: ContainerEdits
  var devices: [String: ContainerEdits]
}
