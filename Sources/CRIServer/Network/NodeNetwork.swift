import Logging
import NodeRegistry
import PodNetwork
import RuntimeModel
import Synchronization

/// The pod network of this node from the moment its pod blocks are known, and the other nodes in it.
///
/// Blocks come from the configuration, from the node registry, or from kubelet (`UpdateRuntimeConfig`); until then there
/// is no network, and Status says so.
final class NodeNetwork: Sendable {
  typealias Sandboxes = (
    leases: [Identifier: AddressLease], ports: [Identifier: [HostPort]], traffic: [Identifier: TrafficOptions]
  )

  private struct State {
    var network: PodNetwork?
    /// Why there is none.
    var absence = (reason: "PodCIDRUnknown", message: "")
    /// Sandboxes between the choice of an address and their record.
    var reserving = 0
    var isSwitching = false
    var view = RegistryView()
    var following: Task<Void, Never>?
    var isRetryDue = false
    var isClosed = false
  }

  let configuration: NetworkConfiguration
  private static let retryPause = Duration.seconds(2)

  private let nodeName: String
  private let registryConfiguration: NodeRegistryConfiguration?
  private let blocksFile: PodBlocksFile
  /// Leases of all sandboxes that are not released, as recorded now.
  private let sandboxes: @Sendable () async throws -> Sandboxes
  private let logger: Logger
  private let state = Mutex(State())
  /// Whatever replaces the network or its peers comes one after the other.
  private let lane = Lane()
  /// Sandboxes that have lost their network, for one reader; ends with ``close()``.
  let losses: AsyncStream<NetworkLoss>
  private let lossSink: AsyncStream<NetworkLoss>.Continuation

  init(
    _ configuration: DaemonConfiguration, logger: Logger, sandboxes: @escaping @Sendable () async throws -> Sandboxes
  ) {
    self.configuration = configuration.network
    nodeName = configuration.nodeName
    registryConfiguration = configuration.registry
    blocksFile = PodBlocksFile(directory: configuration.network.stateDirectory)
    self.sandboxes = sandboxes
    self.logger = logger
    (losses, lossSink) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(4096))
  }

  // MARK: life

  /// Opens the network if its blocks are known, and follows the registry where there is one.
  /// - Throws: what stands in the way of a network whose blocks are known; ``LaterFormat`` before anything is changed.
  func start() async throws {
    if let registryConfiguration { try NodeRegistry(registryConfiguration, logger: logger).checkState() }
    let blocks = try blocksFile.read(unless: configuration.podCIDRs) ?? configuration.podCIDRs
    if !blocks.isEmpty {
      let network = try await makeNetwork(blocks)
      state.withLock { $0.network = network }
    } else {
      let source = registryConfiguration == nil ? "kubelet (UpdateRuntimeConfig)" : "the node registry"
      state.withLock { $0.absence.message = "network.pod_cidrs is \"auto\", and \(source) has not said yet" }
    }
    try await follow(blocks)
  }

  /// Ends what we do; links, routes and traffic stay.
  func close() async {
    let (network, following) = state.withLock { state in
      state.isClosed = true
      return (state.network, state.following)
    }
    following?.cancel()
    await network?.shutdown()
    lossSink.finish()
  }

  private func makeNetwork(_ blocks: [String]) async throws -> PodNetwork {
    var configuration = configuration
    configuration.podCIDRs = blocks
    let sandboxes = try await sandboxes()
    let network = try await PodNetwork.open(
      configuration, liveSandboxes: sandboxes.leases, publishedPorts: sandboxes.ports, traffic: sandboxes.traffic,
      logger: logger)
    for sandbox in network.report.lostSandboxes {
      lossSink.yield(NetworkLoss(sandbox: sandbox, reason: "its network interface went while no daemon ran"))
    }
    // Ends with the network's stream.
    Task { [losses = network.losses, lossSink] in
      for await loss in losses { lossSink.yield(loss) }
    }
    return network
  }

  // MARK: use

  /// - Throws: `unavailable` as long as there is none.
  var current: PodNetwork {
    get throws(RuntimeError) {
      let (network, message) = state.withLock { ($0.network, $0.absence.message) }
      guard let network else { throw RuntimeError(.unavailable, "there is no pod network yet: \(message)") }
      return network
    }
  }

  /// From here until ``endReserving()`` the blocks do not change: the caller chooses an address and records it.
  func beginReserving() throws(RuntimeError) {
    let isAllowed = state.withLock { state in
      guard !state.isSwitching else { return false }
      state.reserving += 1
      return true
    }
    guard isAllowed else { throw RuntimeError(.unavailable, "the node's pod blocks are being changed") }
  }

  func endReserving() { state.withLock { $0.reserving -= 1 } }

  func readiness() async -> NetworkReadiness {
    let (network, absence) = state.withLock { ($0.network, $0.absence) }
    guard let network else { return .notReady(reason: absence.reason, message: absence.message) }
    return await network.readiness()
  }

  /// Why what is known of other nodes may be old; nil: it is not. No value without a registry.
  var registryTrouble: String?? {
    registryConfiguration == nil ? nil : .some(state.withLock { $0.view.trouble })
  }

  /// What the registry said last; nil without one.
  var registryView: RegistryView? { registryConfiguration == nil ? nil : state.withLock { $0.view } }

  /// The node's pod blocks; empty as long as they are not known.
  var podBlocks: [String] {
    state.withLock { $0.network }?.blocks ?? []
  }
}

// MARK: - the registry

extension NodeNetwork {
  private func follow(_ blocks: [String]) async throws {
    guard let registryConfiguration else {
      // Nobody else is there; what an earlier configuration had is taken away.
      if let network = state.withLock({ $0.network }) { _ = try await network.setPeers([], own: nodeName) }
      return
    }
    let registry = try NodeRegistry(registryConfiguration, logger: logger)
    let own = try PodNetwork.nodeRecord(configuration, named: nodeName, blocks: blocks)
    let cluster = configuration.clusterCIDRs.compactMap { AddressBlock($0) }
    let task = Task { [weak self] in
      await registry.follow(own: own, cluster: cluster) { [weak self] view in await self?.take(view) }
    }
    let isClosed = state.withLock { state in
      state.following = task
      return state.isClosed
    }
    if isClosed { task.cancel() }
  }

  private func take(_ view: RegistryView) async {
    state.withLock { $0.view = view }
    do {
      try await lane.run { [self] in try await apply(view) }
    } catch {
      logger.error("the registry's word is not carried out", metadata: ["error": "\(error)"])
      retryLater()
    }
  }

  /// What stood in the way may go without the registry saying anything. The registry does not wait for this.
  private func retryLater() {
    let isFirst = state.withLock { state in
      defer { state.isRetryDue = true }
      return !state.isRetryDue && !state.isClosed
    }
    guard isFirst else { return }
    Task { [weak self] in
      try? await Task.sleep(for: Self.retryPause)
      guard let self else { return }
      let view = state.withLock { state in
        state.isRetryDue = false
        return state.isClosed ? nil : state.view
      }
      if let view { await take(view) }
    }
  }

  private func apply(_ view: RegistryView) async throws {
    if state.withLock({ $0.network == nil && !$0.isClosed }), !view.ownBlocks.isEmpty {
      do {
        let network = try await makeNetwork(view.ownBlocks)
        state.withLock { $0.network = network }
      } catch {
        state.withLock { $0.absence = ("PodNetworkFailed", "\(error)") }
        throw error
      }
    }
    guard let network = state.withLock({ $0.network }) else {
      if let trouble = view.trouble { state.withLock { $0.absence.message = trouble } }
      return
    }
    _ = try await network.setPeers(view.nodes, own: nodeName)
  }
}

// MARK: - blocks from kubelet

extension NodeNetwork {
  /// Gives the node other pod blocks, and keeps them for the next start.
  /// - Parameter text: one CIDR block, or one of each family with a comma between.
  /// - Throws: `invalidArgument`; `failedPrecondition` while sandboxes have addresses outside the new blocks, or where
  ///   the registry gives the blocks; `unavailable` while a sandbox is about to get its address.
  func setPodBlocks(_ text: String) async throws {
    let blocks = text.split(separator: ",").map { String($0.drop { $0 == " " }) }
    var wanted = configuration
    wanted.podCIDRs = blocks
    do throws(NetworkError) {
      try wanted.validated()
    } catch {
      throw RuntimeError(.invalidArgument, "runtime_config.network_config.pod_cidr: \(error)")
    }
    try await lane.run { [self] in try await switchTo(blocks) }
  }

  private func switchTo(_ blocks: [String]) async throws {
    let before = podBlocks
    guard Set(blocks) != Set(before) else { return }
    if registryConfiguration != nil, configuration.podCIDRs.isEmpty {
      throw RuntimeError(
        .failedPrecondition, "the node registry gives this node its pod blocks; \(blocks) are not them")
    }
    let isFree = state.withLock { state in
      guard state.reserving == 0 else { return false }
      state.isSwitching = true
      return true
    }
    guard isFree else { throw RuntimeError(.unavailable, "a sandbox is being started; try again") }
    defer { state.withLock { $0.isSwitching = false } }
    try await checkLeases(blocks)
    let old = state.withLock { $0.network }
    await old?.shutdown()
    do {
      let network = try await makeNetwork(blocks)
      try blocksFile.write(blocks, insteadOf: configuration.podCIDRs)
      state.withLock { $0.network = network }
    } catch {
      if old != nil {
        let restored = try await makeNetwork(before)
        state.withLock { $0.network = restored }
      }
      throw error
    }
    logger.notice("pod blocks changed", metadata: ["before": "\(before)", "now": "\(blocks)"])
    state.withLock { $0.following }?.cancel()
    try await follow(blocks)
  }

  private func checkLeases(_ texts: [String]) async throws {
    let blocks = texts.compactMap { AddressBlock($0) }
    for (sandbox, lease) in try await sandboxes().leases.sorted(by: { $0.key < $1.key }) {
      for text in lease.addresses {
        guard let address = IPAddress(text), !blocks.contains(where: { $0.contains(address) }) else { continue }
        throw RuntimeError(
          .failedPrecondition, "sandbox \(sandbox) has the address \(address), which is outside \(texts)")
      }
    }
  }
}
