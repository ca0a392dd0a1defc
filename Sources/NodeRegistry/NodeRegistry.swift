package import Logging
package import RuntimeModel

/// Where nodes learn of each other, and get their pod blocks.
package struct NodeRegistry: Sendable {
  let configuration: NodeRegistryConfiguration
  let logger: Logger

  /// - Throws: `configuration`.
  package init(_ configuration: NodeRegistryConfiguration, logger: Logger) throws(RegistryError) {
    try configuration.validated()
    self.configuration = configuration
    self.logger = logger
  }

  /// Looks at what an earlier run has kept. Blocks.
  /// - Throws: ``LaterFormat`` when that was a later version.
  package func checkState() throws(LaterFormat) { try SnapshotFile(directory: configuration.stateDirectory).check() }

  /// Follows the registry until the task is cancelled, whatever happens to it.
  /// - Parameters:
  ///   - own: this node's record; without pod blocks it gets some.
  ///   - cluster: the cluster's pod blocks.
  ///   - report: gets each new view, one after the other; the first at once where an earlier run left one.
  package func follow(
    own: NodeRecord, cluster: [AddressBlock], _ report: @escaping @Sendable (RegistryView) async -> Void
  ) async {
    let snapshot = SnapshotFile(directory: configuration.stateDirectory)
    var first = await snapshot.read(own: own.name)
    if !own.podCIDRs.isEmpty { first.ownBlocks = own.podCIDRs }
    if !first.nodes.isEmpty || !first.ownBlocks.isEmpty { await report(first) }
    let feed = RegistryFeed(first, snapshot: snapshot, own: own.name, logger: logger, report)
    switch configuration.source {
    case .file(let path): await FileRegistry(path: path, own: own, feed: feed).follow()
    case .etcd(let etcd):
      await EtcdRegistry(etcd, configuration, own: own, cluster: cluster, feed: feed).follow()
    }
  }
}

/// Passes on what is new, and keeps it for the next start.
actor RegistryFeed {
  private(set) var view: RegistryView
  private var hasPublished = false
  private let snapshot: SnapshotFile
  private let own: String
  private let logger: Logger
  private let report: @Sendable (RegistryView) async -> Void

  init(
    _ view: RegistryView, snapshot: SnapshotFile, own: String, logger: Logger,
    _ report: @escaping @Sendable (RegistryView) async -> Void
  ) {
    self.view = view
    self.snapshot = snapshot
    self.own = own
    self.logger = logger
    self.report = report
  }

  func publish(_ next: RegistryView) async {
    guard next != view || !hasPublished else { return }
    hasPublished = true
    let isNews = next.nodes != view.nodes || next.ownBlocks != view.ownBlocks
    if next.trouble != view.trouble {
      if let trouble = next.trouble {
        logger.warning("node registry", metadata: ["trouble": "\(trouble)"])
      } else {
        logger.notice("the node registry answers again", metadata: ["revision": "\(next.revision)"])
      }
    }
    for name in next.unreadable.subtracting(view.unreadable).sorted() {
      logger.error("a node's record makes no sense; the node is not reached", metadata: ["node": "\(name)"])
    }
    view = next
    if isNews {
      do {
        try await snapshot.write(next, own: own)
      } catch {
        logger.warning("the node registry's state was not kept", metadata: ["error": "\(error)"])
      }
    }
    await report(next)
  }

  /// What was known stays.
  func publish(trouble: String) async {
    var next = view
    next.trouble = trouble
    await publish(next)
  }
}
