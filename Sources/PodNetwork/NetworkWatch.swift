internal import RuntimeModel
internal import Synchronization

/// What the network remembers of how things should be, to tell from an event alone whether it is worth a look.
struct NetworkWatch: Sendable {
  var schedule: RepairSchedule
  var findings: [NetworkFinding.Kind: [NetworkFinding]] = [:]
  /// Chains of others at hook forward, as of the last look.
  var forwardChains: [ForwardChain]
  /// How ports should be set.
  var port: BridgePort
  /// Ports that were seen as they should be: from then on another sight of them is a reason to look. Before, they are on
  /// their way.
  private var inBridge: Set<Int32> = []
  private var locked: Set<Int32> = []
  /// The same of bridges.
  private var bridges: Set<Int32> = []

  /// - Parameters:
  ///   - settled: interface indexes of ports that are as they should be.
  ///   - bridges: the same of bridges, unless they were made just now: that is still to be told.
  init(
    now: Duration, port: BridgePort, settled: Set<Int32>, bridges: Set<Int32>, forwardChains: [ForwardChain]
  ) {
    schedule = RepairSchedule(now: now)
    self.port = port
    self.forwardChains = forwardChains
    self.bridges = bridges
    inBridge = settled
    locked = settled
  }

  /// A look found these ports and bridges as they should be, or made them so.
  mutating func settle(_ ports: Set<Int32>, bridges: Set<Int32>) {
    self.bridges = bridges
    inBridge = ports
    locked = ports
  }

  /// - Returns: whether a port that was well is not any more.
  mutating func sees(_ link: Link, bridges: Set<Int32>, isGone: Bool) -> Bool {
    if !isGone && link.isUp && bridges.contains(link.master) {
      inBridge.insert(link.index)
      return false
    }
    if isGone { locked.remove(link.index) }
    return inBridge.remove(link.index) != nil
  }

  mutating func sees(bridge index: Int32, isWell: Bool) -> Bool {
    if isWell {
      bridges.insert(index)
      return false
    }
    return bridges.remove(index) != nil
  }

  mutating func sees(port index: Int32, _ options: [Int: UInt8], isGone: Bool) -> Bool {
    if !isGone && port.options.allSatisfy({ options[$0.option] == $0.value }) {
      locked.insert(index)
      return false
    }
    return locked.remove(index) != nil
  }

  func concerns(_ change: RuleChange) -> Bool {
    switch change.object {
    case .chain where !change.isGone && change.hook == ForwardChain.hook: return true
    case .chain, .rule, .table:
      return forwardChains.contains { chain in
        chain.family == change.family && chain.table == change.table
          && (change.object == .table ? change.isGone : chain.name == change.chain)
      }
    case .set, .element, .other: return false
    }
  }
}

/// Which events are worth a look. On the observer's thread.
extension PodNetwork {
  func concerns(_ change: KernelChange) -> Bool {
    let bridges = Set(health.withLock { $0.bridges.values })
    switch change {
    case .link(let link, let isGone) where bridges.contains(link.index):
      let isWell = !isGone && link.isUp && link.mtu == plan.mtu && link.mac == plan.bridgeMAC.bytes
      return watch.withLock { $0.sees(bridge: link.index, isWell: isWell) } || isGone
    case .link(let link, let isGone):
      let isWorse = watch.withLock { $0.sees(link, bridges: bridges, isGone: isGone) }
      if isWorse && isLive(link.index) { return true }
    case .port(let index, let options, let isGone):
      let isWorse = watch.withLock { $0.sees(port: index, options, isGone: isGone) }
      if isWorse && isLive(index) { return true }
    case .address(let interface, let address, isGone: true) where bridges.contains(interface):
      if plan.bridgeAddresses.contains(where: { $0.address == address.address }) { return true }
    case .address: break
    case .neighbour(let interface, let address, let mac, let isFixed, let isGone):
      if concerns(neighbour: address, mac, on: interface, bridges, isWell: isFixed && !isGone) { return true }
    case .route(let destination, let interface, _, let isGone):
      let isOfBridge = bridges.contains(interface)
      // One that is added elsewhere takes the pods' answers with it.
      if isGone == isOfBridge { return concerns(route: destination, isOfBridge: isOfBridge) }
    }
    return false
  }

  func concerns(_ change: RuleChange) -> Bool {
    plan.owns(change) || watch.withLock { $0.concerns(change) }
  }

  private func concerns(
    neighbour address: IPAddress?, _ mac: MACAddress?, on interface: Int32, _ bridges: Set<Int32>, isWell: Bool
  ) -> Bool {
    if let address {
      guard bridges.contains(interface), let number = plan.number(of: address), let port = livePort(number) else {
        return false
      }
      return !isWell || mac.map { $0.description != port.lease.mac } ?? true
    }
    guard let mac, let number = plan.number(of: mac), let port = livePort(number) else { return false }
    // Its entry has gone, or is on another port now.
    return port.index == interface ? !isWell : isWell
  }

  private func concerns(route destination: AddressBlock, isOfBridge: Bool) -> Bool {
    // The route to a pod behind an overflow bridge goes with the pod.
    if destination.prefix == destination.family.width, let number = plan.number(of: destination.base) {
      return livePort(number) != nil
    }
    guard destination.prefix > 0 else { return false }
    let blocks = isOfBridge ? plan.bridgeAddresses.map { AddressBlock($0.address, prefix: $0.prefix) } : plan.podBlocks
    return blocks.contains(where: destination.overlaps)
  }

  private func livePort(_ number: UInt32) -> Ledger.Port? {
    let name = plan.lease(number).hostInterface
    return ledger.withLock { $0.livePort(named: name) }
  }

  private func isLive(_ index: Int32) -> Bool { ledger.withLock { $0.livePort(index: index) != nil } }
}
