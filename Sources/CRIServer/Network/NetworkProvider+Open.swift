import CNI
import Logging
import RuntimeModel

extension Daemon {
  /// Opens the network of the configuration, and brings it to what the records say.
  /// - Parameter sandboxes: what sandboxes of this boot have of our own network, as recorded at the time of asking.
  static func openNetwork(
    _ configuration: DaemonConfiguration, _ records: [SandboxRecord], bootID: String, journal: AttachJournal,
    logger: Logger, sandboxes: @escaping @Sendable () async throws -> NodeNetwork.Sandboxes
  ) async throws -> any NetworkProvider {
    if let cni = configuration.cni {
      let network = CNINetwork(cni, logger: logger)
      try network.checkState()
      let live = Set(records.filter { $0.bootID == bootID && !$0.isReleased }.map(\.id))
      // Unstructured: plugins may take their time, and no sandbox of ours is concerned.
      Task { await network.reconcile(live: live) }
      return CNIProvider(network: network, journal: journal)
    }
    let network = NodeNetwork(configuration, logger: logger, sandboxes: sandboxes)
    try await network.start()
    return BridgeProvider(network: network, journal: journal)
  }
}
