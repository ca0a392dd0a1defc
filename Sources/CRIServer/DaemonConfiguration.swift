package import CDI
package import CNI
package import ImageStore
package import NodeRegistry
package import PodNetwork
package import Streaming

/// How one daemon is set up; several run side by side when directories, bridge and CIDRs differ.
package struct DaemonConfiguration: Sendable {
  /// What survives a reboot: images, records.
  package var root: String
  /// What does not: shim sockets, files of running pods.
  package var state: String
  package var socket: String
  /// Where pods go whose request names no cgroup_parent.
  package var cgroupParent: String
  /// Processes and threads that a container may have (ATTACKS.md D23); -1: no limit.
  package var pidsLimit: Int64 = 4096
  /// Whether an image's `VOLUME`s get no directories of their own.
  package var ignoresImageVolumes = false
  /// Bytes of content in one record of a container's log; longer lines become several (CRI.md 4.2).
  package var logLineLimit: UInt32 = 16_384
  package var shimPath: String
  package var pausePath: String
  package var network: NetworkConfiguration
  /// Plugins instead of our own bridge; nil: the bridge, as `network` says.
  package var cni: CNIConfiguration?
  package var registries: RegistryConfiguration
  /// Where the specifications of this node's CDI devices are.
  package var deviceSpecs = SpecDirectories.standard
  /// Whether device nodes that a container asks for belong to its run_as_user and run_as_group.
  package var ownsDevices = false
  /// Where clients of Exec, Attach and PortForward are served.
  package var streaming = StreamingConfiguration()
  /// This node's name among the others.
  package var nodeName: String
  /// Where nodes learn of each other; nil: nowhere.
  package var registry: NodeRegistryConfiguration?

  package init(
    root: String, state: String, socket: String, cgroupParent: String, shimPath: String, pausePath: String,
    network: NetworkConfiguration, cni: CNIConfiguration? = nil, registries: RegistryConfiguration,
    nodeName: String? = nil, registry: NodeRegistryConfiguration? = nil
  ) {
    self.root = root
    self.state = state
    self.socket = socket
    self.cgroupParent = cgroupParent
    self.shimPath = shimPath
    self.pausePath = pausePath
    self.network = network
    self.cni = cni
    self.registries = registries
    self.nodeName = nodeName ?? NodeName.current
    self.registry = registry
  }

  /// Files and sockets of one sandbox; gone with it.
  func runDirectory(of sandbox: String) -> String { "\(state)/pods/\(sandbox)" }
}
