package import FoundationEssentials

/// What is written about a sandbox, before and after each change to it.
package struct SandboxRecord: Sendable, Hashable, Codable {
  /// Where a sandbox stands. `creating` is never shown; `stopping` and `broken` show as NotReady.
  package enum State: String, Sendable, Codable {
    /// RunPodSandbox has begun; a daemon that finds it at start undoes it.
    case creating
    /// Pause holds the namespaces.
    case ready
    /// Pause is gone or StopPodSandbox was called; resources may still wait for their release.
    case notReady
  }

  package var id: Identifier
  package var metadata: SandboxMetadata
  package var state: State
  /// Wall clock, nanoseconds since 1970; set once.
  package var createdAt: Int64
  /// `/proc/sys/kernel/random/boot_id` when it was made; another value now means that nothing of it is alive.
  package var bootID: String
  package var runtimeHandler: String
  /// The request's PodSandboxConfig as it came, in protobuf, unknown fields and all.
  package var config: Data
  /// Absolute path below the cgroup root, without a leading controller, e.g. `/swiftlet`.
  package var cgroupParent: String
  /// nil for host network, and once the address was given back.
  package var lease: AddressLease?
  /// What CNI plugins gave it, in CRI's order; nil where it has a lease, the node's network, or nothing yet.
  package var pluginAddresses: [String]?
  /// The shim's process; nil until it was spawned.
  package var shim: ProcessIdentity?
  /// Pause's process; nil until it runs.
  package var pause: ProcessIdentity?
  /// True once StopPodSandbox has released network and processes.
  package var isReleased: Bool
  /// Why it is not ready although nobody stopped it, in prose; nil where that is not known.
  package var notReadyReason: String?
  /// What UpdatePodSandboxResources said last, each a LinuxContainerResources in protobuf; nil: nothing.
  package var overhead: Data?
  package var resources: Data?

  package init(
    id: Identifier, metadata: SandboxMetadata, state: State, createdAt: Int64, bootID: String, runtimeHandler: String,
    config: Data, cgroupParent: String, lease: AddressLease?
  ) {
    self.id = id
    self.metadata = metadata
    self.state = state
    self.createdAt = createdAt
    self.bootID = bootID
    self.runtimeHandler = runtimeHandler
    self.config = config
    self.cgroupParent = cgroupParent
    self.lease = lease
    self.pluginAddresses = nil
    self.shim = nil
    self.pause = nil
    self.isReleased = false
    self.notReadyReason = nil
    self.overhead = nil
    self.resources = nil
  }
}

extension SandboxRecord {
  /// Keeps the first reason: what follows is most often its consequence.
  package mutating func becomeNotReady(because reason: String) {
    if state == .ready { notReadyReason = reason }
    state = .notReady
  }

  /// In the order the CRI shows them: the first is `ip`, the rest `additional_ips`.
  package var addresses: [String] { lease?.addresses ?? pluginAddresses ?? [] }
}

/// A process that can be recognised after its number was reused.
package struct ProcessIdentity: Sendable, Hashable, Codable {
  package var pid: Int32
  /// Field 22 of `/proc/PID/stat`: clock ticks after boot at which it began (proc(5)).
  package var startTime: UInt64

  package init(pid: Int32, startTime: UInt64) {
    self.pid = pid
    self.startTime = startTime
  }
}
