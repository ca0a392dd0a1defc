import CRIProtocol
import Glibc
import ImageStore
import LinuxSystem
package import Logging
import PodNetwork
import RuntimeModel
import ShimProtocol
import Store
import Streaming

extension Daemon {
  /// Opens everything the daemon needs; nothing is served yet. ``recover()`` comes next.
  ///
  /// The directories and their lock are the caller's.
  /// - Throws: with ``LaterFormat``'s words, before anything is changed, when a later version has written some of it.
  package static func open(_ configuration: DaemonConfiguration, logger: Logger) async throws -> (Daemon, Records) {
    let bootID = try BootID.current()
    let store = try RecordStore(path: "\(configuration.root)/state.db")
    let stored = try store.load()
    for finding in stored.findings { logger.error("the records are damaged", metadata: ["what": "\(finding)"]) }
    for row in stored.damaged { logger.error("a record is damaged", metadata: ["record": "\(row.reason)"]) }
    let records = Records(stored)
    let threads = BlockingPool(threads: 8)
    let journal = AttachJournal()
    // Before the network, which changes the kernel: whatever a later version has written is seen first.
    let images = try ImageStore(
      root: "\(configuration.root)/images", configuration: configuration.registries, logger: logger)
    let network = try await openNetwork(
      configuration, records.sandboxes.map(\.record), bootID: bootID, journal: journal, logger: logger
    ) {
      try await threads.run { try leases(store, bootID, logger) }
    }
    let userNamespaces = UserNamespaceSupport.probe(layers: images.layerDirectory)
    if let obstacle = userNamespaces.obstacle {
      logger.notice("pods cannot have user namespaces on this node", metadata: ["because": "\(obstacle)"])
    }
    let daemon = Daemon(
      configuration: configuration, store: store, images: images, network: network, attachJournal: journal,
      cgroups: try Cgroup.mounted(), threads: threads, exits: try ExitWatcher(), bootID: bootID,
      availableCapabilities: CapabilitySet(mask: try boundingSet()), userNamespaces: userNamespaces,
      logger: logger)
    return (daemon, records)
  }

  /// Reconciles the records with the kernel, then lets requests in.
  /// - Throws: ``LaterFormat`` for a pod that a later version has started; nothing is ended then.
  package func recover(_ records: Records) async throws {
    // Compiling a profile takes some 30 ms: now, and not in the first pod's start.
    async let compiled: Void = threads.run { [self] in
      _ = try defaultSeccomp(capabilities: .none)
      _ = try defaultSeccomp(
        capabilities: ProcessCapabilities(Runtime_V1_Capability(), available: availableCapabilities).all)
    }
    try await Recovery(daemon: self).run(records)
    followLosses()
    try await compiled
    recovered.open()
  }

  /// Lets go of everything without touching a pod: of the shims first, for which a client's end is told by a word.
  package func close() async {
    for sandbox in sandboxes.all { sandbox.shim?.close() }
    await streaming.close()
    await network.shutdown()
    await images.shutdown()
  }

  /// What sandboxes of this boot have of the network. Those without a usable record have nothing: they are ended.
  private static func leases(
    _ store: RecordStore, _ bootID: String, _ logger: Logger
  ) throws -> NodeNetwork.Sandboxes {
    var sandboxes: NodeNetwork.Sandboxes = ([:], [:], [:])
    for sandbox in Records(try store.load()).sandboxes where sandbox.record.bootID == bootID {
      guard let lease = sandbox.record.lease else { continue }
      sandboxes.leases[sandbox.id] = lease
      do {
        sandboxes.ports[sandbox.id] = try HostPorts.published(
          sandbox.config.portMappings, namespaces: sandbox.namespaces)
        sandboxes.traffic[sandbox.id] = try PodTraffic.options(sandbox.config, namespaces: sandbox.namespaces)
      } catch {
        // As an earlier daemon's checks have let it through.
        logger.error(
          "what a sandbox asked of the network is not in force any more",
          metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
      }
    }
    return sandboxes
  }

  /// The capabilities this process may hand out: CapBnd of proc_pid_status(5).
  private static func boundingSet() throws -> UInt64 {
    let status = try HostFiles.read("/proc/self/status") ?? ""
    for line in status.split(separator: "\n") where line.hasPrefix("CapBnd:") {
      if let mask = UInt64(line.dropFirst(7).drop { $0 == "\t" || $0 == " " }, radix: 16) { return mask }
    }
    throw RuntimeError(.internalError, "/proc/self/status has no CapBnd line")
  }
}
