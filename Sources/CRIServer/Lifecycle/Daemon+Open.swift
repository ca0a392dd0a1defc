import Glibc
import ImageStore
import LinuxSystem
package import Logging
import PodNetwork
import RuntimeModel
import ShimProtocol
import Store

extension Daemon {
  /// Opens everything the daemon needs; nothing is served yet. ``recover()`` comes next.
  ///
  /// The directories and their lock are the caller's: see `StateDirectory`.
  package static func open(_ configuration: DaemonConfiguration, logger: Logger) async throws -> (Daemon, Records) {
    let bootID = try BootID.current()
    let store = try RecordStore(path: "\(configuration.root)/state.db")
    let records = try store.load()
    for damage in records.damaged { logger.error("a record is damaged", metadata: ["record": "\(damage)"]) }
    let live = records.sandboxes.filter { $0.bootID == bootID }.compactMap { record in
      record.lease.map { (record.id, $0) }
    }
    let network = try await PodNetwork.open(
      configuration.network, liveSandboxes: Dictionary(live, uniquingKeysWith: { $1 }), logger: logger)
    let images = try ImageStore(
      root: "\(configuration.root)/images", configuration: configuration.registries, logger: logger)
    let daemon = Daemon(
      configuration: configuration, store: store, images: images, network: network,
      cgroups: try Cgroup.mounted(), threads: BlockingPool(threads: 8), bootID: bootID,
      availableCapabilities: CapabilitySet(mask: try boundingSet()), logger: logger)
    return (daemon, Records(sandboxes: records.sandboxes, containers: records.containers))
  }

  /// What ``open(_:logger:)`` found on disk, for ``recover(_:)``.
  package struct Records: Sendable {
    let sandboxes: [SandboxRecord]
    let containers: [ContainerRecord]
  }

  /// Reconciles the records with the kernel, then lets requests in.
  package func recover(_ records: Records) async throws {
    try await Recovery(daemon: self).run((records.sandboxes, records.containers))
    recovered.open()
  }

  /// Lets go of everything without touching a pod.
  package func close() async {
    for sandbox in sandboxes.all { sandbox.shim?.close() }
    await network.shutdown()
    await images.shutdown()
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
