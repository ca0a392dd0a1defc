internal import FoundationEssentials
internal import RuntimeModel

/// The registry in etcd. A claim of a pod block stays for ever; liveness is a lease. While the store is away everything
/// stays as it was.
actor EtcdRegistry {
  private let client: Result<EtcdClient, RegistryError>
  private let configuration: EtcdConfiguration
  private let policy: NodeRegistryConfiguration
  private let keys: EtcdKeys
  private let own: NodeRecord
  private let cluster: [AddressBlock]
  private let feed: RegistryFeed
  private var state: EtcdState
  /// What we have, once we have it: from here on nothing else will do.
  private var ownBlocks: [String]

  init(
    _ configuration: EtcdConfiguration, _ policy: NodeRegistryConfiguration, own: NodeRecord,
    cluster: [AddressBlock], feed: RegistryFeed
  ) {
    self.configuration = configuration
    self.policy = policy
    self.own = own
    self.cluster = cluster
    self.feed = feed
    keys = EtcdKeys(prefix: configuration.prefix)
    state = EtcdState(keys: keys)
    ownBlocks = own.podCIDRs
    client = Result { () throws(RegistryError) in try EtcdClient(configuration) }
  }

  func follow() async {
    guard case .success(let client) = client else {
      if case .failure(let error) = client { await feed.publish(trouble: "\(error)") }
      return
    }
    if ownBlocks.isEmpty { ownBlocks = await feed.view.ownBlocks }
    var pause = Duration.milliseconds(200)
    while !Task.isCancelled {
      do {
        try await session(client) { pause = .milliseconds(200) }
      } catch is CancellationError {
        break
      } catch {
        await feed.publish(trouble: "\(error)")
      }
      // Spread, so that a store that comes back does not meet all nodes at once.
      try? await Task.sleep(for: pause * Double.random(in: 0.5...1))
      pause = min(pause * 2, .seconds(5))
    }
    await client.shutdown()
  }

  /// From the claim until something breaks.
  private func session(_ client: EtcdClient, _ joined: () -> Void) async throws {
    let lease = try await client.grant(seconds: configuration.leaseSeconds)
    try await claim(client, lease)
    try await read(client)
    joined()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await self.watch(client) }
      group.addTask { try await self.stayAlive(client, lease) }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  private func read(_ client: EtcdClient) async throws {
    let listing = try await client.list(keys.all)
    let known = Set((await feed.view).nodes.map(\.name))
    state.replace(listing, known: known, at: .now)
    try await publish()
  }

  private func watch(_ client: EtcdClient) async throws {
    while true {
      try await client.watch(keys.all, from: state.revision + 1) { changes in
        try await self.apply(changes)
      }
      try await read(client)
    }
  }

  private func apply(_ changes: [EtcdChange]) async throws {
    state.apply(changes, at: .now)
    try await publish()
  }

  private func stayAlive(_ client: EtcdClient, _ lease: Int64) async throws {
    while true {
      try await Task.sleep(for: .milliseconds(configuration.leaseSeconds * 1000 / 3))
      guard try await client.keepAlive(lease) else { throw RegistryError.unavailable("our lease has ended") }
      // Those who have been silent for too long go.
      try await publish()
    }
  }

  /// - Throws: when our own claim is not there any more: it is made anew, or somebody has taken the name.
  private func publish() async throws {
    guard let record = state.record(own.name), isOurs(record), state.live.contains(own.name) else {
      throw RegistryError.unavailable("our own record or lease was taken away")
    }
    var view = state.view(own: own.name, keep: policy.keepSilent, at: .now)
    view.ownBlocks = ownBlocks
    await feed.publish(view)
  }

  // MARK: the claim

  /// Create-if-absent of name and blocks in one transaction; whoever loses reads and chooses anew.
  private func claim(_ client: EtcdClient, _ lease: Int64) async throws {
    for _ in 0..<4096 {
      try Task.checkCancellation()
      state.replace(try await client.list(keys.all), known: [], at: .now)
      let (blocks, transaction) = try proposal(lease)
      if try await client.commit(transaction) {
        ownBlocks = blocks
        return
      }
    }
    throw RegistryError.unavailable("others were always faster")
  }

  private func proposal(_ lease: Int64) throws -> ([String], EtcdTransaction) {
    var transaction = EtcdTransaction(compare: [], success: [])
    let pair = state.nodes[own.name]
    var mine: [String] = []
    if let pair {
      let record = state.record(own.name)
      if let record, !isOurs(record), !policy.takeOver {
        throw RegistryError.nameTaken(name: own.name, owner: record.addresses.joined(separator: " and "))
      }
      mine = record?.podCIDRs ?? []
      transaction.compare.append(.isUnchanged(pair))
    } else {
      transaction.compare.append(.isAbsent(keys.node(own.name)))
    }
    let blocks = try chosen(mine)
    for block in blocks {
      if let subnet = state.subnets[block] {
        guard subnet.value == own.name else { throw RegistryError.blockTaken(block: block, owner: subnet.value) }
        transaction.compare.append(.isUnchanged(subnet))
      } else {
        try checkOverlap(block)
        transaction.compare.append(.isAbsent(keys.subnet(block)))
        transaction.success.append(.put(keys.subnet(block), own.name))
      }
    }
    for (block, subnet) in state.subnets where subnet.value == own.name && !blocks.contains(block) {
      transaction.success.append(.delete(keys.subnet(block)))
    }
    var record = own
    record.podCIDRs = blocks
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let text = String(decoding: try encoder.encode(record), as: UTF8.self)
    if pair?.value != text { transaction.success.append(.put(keys.node(own.name), text)) }
    transaction.success.append(.put(keys.live(own.name), own.name, lease: lease))
    return (blocks, transaction)
  }

  /// What we must have, else what the store says is ours, else what is free.
  private func chosen(_ mine: [String]) throws -> [String] {
    if !ownBlocks.isEmpty { return ownBlocks }
    if !mine.isEmpty { return mine }
    let plan = try ClaimPlan(cluster: cluster, maskSize4: policy.maskSize4, maskSize6: policy.maskSize6)
    let taken =
      state.subnets.keys.compactMap { AddressBlock($0) }
      + state.nodes.keys.flatMap { name in
        (state.record(name)?.podCIDRs ?? []).compactMap { AddressBlock($0) }
      }
    guard let blocks = plan.choose(for: own.name, taken: taken) else {
      throw RegistryError.blocksExhausted(cluster: plan.description)
    }
    return blocks.map(\.description)
  }

  private func checkOverlap(_ text: String) throws {
    guard let block = AddressBlock(text) else { return }
    for (other, subnet) in state.subnets where subnet.value != own.name {
      if let taken = AddressBlock(other), taken.overlaps(block) {
        throw RegistryError.blockTaken(block: other, owner: subnet.value)
      }
    }
  }

  private func isOurs(_ record: NodeRecord) -> Bool {
    record.address4 == own.address4 && record.address6 == own.address6
  }
}
