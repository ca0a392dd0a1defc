import CRIProtocol
import ImageStore
import LinuxSystem
import Logging
import PodNetwork
import RuntimeModel
import Seccomp
import Store
import Streaming

/// The daemon's graph: every room it uses, and the objects it serves. Built once at start, by ``open(_:logger:)``.
package final class Daemon: Sendable {
  package let configuration: DaemonConfiguration
  let store: RecordStore
  let images: ImageStore
  let network: any NetworkProvider
  let attachJournal: AttachJournal
  let cgroups: CgroupHierarchy
  let seccomp = SeccompCompiler()
  /// Threads for calls that block: records, cgroups, spawning.
  let threads: BlockingPool
  /// Threads for paths that requests name: a file system behind one may never answer, as NFS without its server, and
  /// nothing else waits for it.
  let hostPaths = BlockingPool(threads: 64)
  /// Threads that wait for killed processes to leave their groups: one in an uninterruptible call may never.
  let reapers = BlockingPool(threads: 32)
  /// The same for the groups of execs: a command that leaves somebody behind holds a thread for two seconds.
  let leaves = BlockingPool(threads: 8)
  /// The one thread that counts writable layers: never in a request's way.
  let measurers = BlockingPool(threads: 1)
  /// Waits for processes, without a thread for each.
  let exits: ExitWatcher
  let logger: Logger
  let bootID: String
  let availableCapabilities: CapabilitySet
  let users: UserDatabases
  let execOutput = OutputBudget()
  let userNamespaces: UserNamespaceSupport
  /// Behind the URLs of Exec, Attach and PortForward.
  let streaming: StreamingServer
  let dials = Dials()
  /// What the disk has refused of what could not wait for it.
  let unwritten: Unwritten

  let sandboxes = ObjectTable<Sandbox>(kind: "sandbox")
  let containers = ObjectTable<Container>(kind: "container")
  let sandboxAttempts = Attempts<Runtime_V1_RunPodSandboxRequest>()
  let containerAttempts = Attempts<Runtime_V1_CreateContainerRequest>()
  /// Opens when recovery has finished; until then every RPC is Unavailable.
  let recovered = Latch()

  init(
    configuration: DaemonConfiguration, store: RecordStore, images: ImageStore, network: any NetworkProvider,
    attachJournal: AttachJournal, cgroups: CgroupHierarchy, threads: BlockingPool, exits: ExitWatcher,
    bootID: String, availableCapabilities: CapabilitySet, userNamespaces: UserNamespaceSupport, logger: Logger
  ) {
    self.configuration = configuration
    self.store = store
    self.images = images
    self.network = network
    self.attachJournal = attachJournal
    self.cgroups = cgroups
    self.threads = threads
    self.exits = exits
    self.bootID = bootID
    self.availableCapabilities = availableCapabilities
    self.logger = logger
    users = UserDatabases(images: images)
    unwritten = Unwritten(store: store, threads: threads, logger: logger)
    self.userNamespaces = userNamespaces
    streaming = StreamingServer(configuration.streaming, exits: exits, logger: logger)
  }

  /// Our own network, for what only it can do; nil where plugins provide.
  var nodeNetwork: NodeNetwork? { network.nodes }

  /// The containers of one sandbox, removed ones excluded.
  func containers(of sandbox: Identifier) -> [Container] {
    containers.all.filter { $0.sandboxID == sandbox && !$0.isRemoved }
  }

  /// Changes a sandbox's record in memory, then on disk.
  func save(_ sandbox: Sandbox, _ change: (inout SandboxRecord) -> Void) async throws {
    _ = sandbox.update(change)
    try await threads.run { [store] in try store.update { sandbox.record } }
  }

  /// Changes a container's record on disk, then in memory: nobody sees what a full disk has refused. In its lane only.
  /// - Parameter failpoint: where the disk may refuse.
  func commit(
    _ container: Container, failpoint: Failpoint? = nil, _ change: @Sendable (inout ContainerRecord) -> Void
  ) async throws {
    var record = container.record
    change(&record)
    let changed = record
    try await threads.run { [store] in
      try failpoint?.pass()
      try store.update(changed)
    }
    _ = container.update(change)
  }

  /// A failpoint that may wait, off the cooperative pool.
  /// - Throws: what the failpoint is armed to fail with.
  func pass(_ point: Failpoint) async throws {
    guard Failpoint.isAnyArmed else { return }
    try await threads.run { try point.pass() }
  }
}
