package import LinuxSystem
internal import Logging
package import RuntimeModel
internal import Synchronization

/// The pods' network on this node: one bridge, one veth pair per sandbox, rules of its own.
///
/// It works in the network namespace that the calling process is in when `open` is called. One thread writes to the
/// kernel, one listens to it; traffic needs neither.
package final class PodNetwork: Sendable {
  /// What `open` found and repaired.
  package let report: NetworkReport

  let plan: NetworkPlan
  let logger: Logger
  let writer: SerialThread
  let host: HostSide
  let observer: Observer
  let maker = NamespaceMaker()
  let ledger: Mutex<Ledger>
  let health: Mutex<Health>
  let watch: Mutex<NetworkWatch>
  let tally = Mutex(NetworkCounters())
  let cursor: CursorFile?
  let peerSide: PeerSide
  let peerWatch: PeerWatch?
  let peerHealth = Mutex(PeerHealth())
  /// How long an attach may take.
  let patience: Duration
  /// Losses of sandboxes, for one reader; ends with `shutdown`.
  package let losses: AsyncStream<NetworkLoss>
  let lossSink: AsyncStream<NetworkLoss>.Continuation

  init(
    report: NetworkReport, host: HostSide, peerSide: PeerSide, peerWatch: PeerWatch?, writer: SerialThread,
    observer: Observer, ledger: Ledger, health: Health, watch: NetworkWatch, cursor: CursorFile?, patience: Duration
  ) {
    self.report = report
    self.plan = host.plan
    self.logger = host.logger
    self.writer = writer
    self.host = host
    self.observer = observer
    self.ledger = Mutex(ledger)
    self.health = Mutex(health)
    self.watch = Mutex(watch)
    self.cursor = cursor
    self.peerSide = peerSide
    self.peerWatch = peerWatch
    self.patience = patience
    // As many as a node has pods; one that nobody reads is told again by the report of the next `open`.
    (losses, lossSink) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(4096))
  }

  deinit {
    lossSink.finish()
    writer.stop()
    observer.stop()
    host.flows.stop()
    peerWatch?.wake()
  }

  // MARK: leases

  /// Chooses the next free address in memory; the caller writes it down in the transaction of its sandbox.
  /// - Parameter ownNamespace: the sandbox brings a namespace: none of the warm pool is of use. Throws `addressExhausted`.
  package func reserveLease(ownNamespace: Bool = false) throws(NetworkError) -> AddressLease {
    let now = bootTime()
    let result = ledger.withLock { ledger -> Result<UInt32, NetworkError> in
      if ownNamespace, let number = ledger.allocator.reserve(at: now) { return .success(number) }
      if let number = ledger.reserve(at: now) { return .success(number) }
      return .failure(
        .addressExhausted(
          cidrs: plan.podBlocks.map(\.description).joined(separator: " and "), used: ledger.allocator.used,
          quarantined: ledger.allocator.resting(at: now)))
    }
    let number = try result.get()
    if let cursor {
      let next = ledger.withLock { $0.allocator.cursor }
      writer.submit { cursor.write(next) }
    }
    return plan.lease(number)
  }

  /// Undoes `reserveLease` when the transaction failed. After `detach` it does nothing, since that gave the lease back.
  package func giveBack(_ lease: AddressLease) {
    guard let number = plan.number(of: lease) else { return }
    ledger.withLock { $0.gaveBack(lease, number: number, at: bootTime()) }
  }

  // MARK: pods

  /// Makes a namespace, or takes one that waits for it, and puts it on the network. On failure nothing is left but the
  /// lease, which the caller gives back by `detach` or `giveBack`.
  /// - Parameter namespace: the sandbox's own, new and empty, because a user namespace is to own it.
  /// - Throws: among others `hostPortTaken` naming the sandbox, or saying that it is a process of the node.
  package func attach(
    sandbox: Identifier, lease: AddressLease, ports: [HostPort] = [], traffic: TrafficOptions = TrafficOptions(),
    namespace: SharedFD? = nil
  ) async throws(NetworkError) -> Attachment {
    do throws(NetworkError) {
      let attachment = try await attachUncounted(sandbox, lease, ports, traffic, namespace)
      tally.withLock { $0.attached += 1 }
      return attachment
    } catch {
      tally.withLock { $0.attachErrors[error.kind, default: 0] += 1 }
      throw error
    }
  }

  private func attachUncounted(
    _ sandbox: Identifier, _ lease: AddressLease, _ ports: [HostPort], _ traffic: TrafficOptions,
    _ namespace: SharedFD?
  ) async throws(NetworkError) -> Attachment {
    guard let number = plan.number(of: lease), let mac = MACAddress(lease.mac) else {
      throw .configuration(key: "pod_cidrs", reason: "lease \(lease.addresses) is not of these blocks")
    }
    let published = try host.published(ports, lease)
    try claim(published, for: sandbox, lease)
    let place = Place(
      sandbox: sandbox, lease: lease, number: number, mac: mac, ports: published, traffic: traffic,
      namespace: namespace, deadline: .now + patience)
    var total = Stopwatch()
    var watch = total
    let spare = ledger.withLock { $0.takeSpare(number) }
    let result: Result<Attachment, NetworkError>
    // The last address's is given up where the sandbox has a namespace of its own.
    if let spare, namespace == nil {
      watch.lap("pool")
      result = await attach(spare, place, watch)
    } else {
      result = await attach(place, watch)
    }
    attachEnded()
    if case .failure = result { _ = ledger.withLock { $0.claims.release(sandbox) } }
    var attachment = try result.get()
    total.lap("all")
    attachment.timings += total.laps
    return attachment
  }

  /// What an attach is to bring about.
  private struct Place: Sendable {
    var sandbox: Identifier
    var lease: AddressLease
    var number: UInt32
    var mac: MACAddress
    var ports: Set<PublishedPort>
    var traffic: TrafficOptions
    var namespace: SharedFD?  // instead of a new one of the node's
    /// When it gives up: between steps, since the kernel's calls are not to be interrupted.
    var deadline: ContinuousClock.Instant

    func check(_ step: String, _ patience: Duration) throws(NetworkError) {
      if ContinuousClock.now > deadline { throw .timeout(step: step, after: patience) }
    }
  }

  private func attach(_ place: Place, _ watch: Stopwatch) async -> Result<Attachment, NetworkError> {
    await withCheckedContinuation { continuation in
      maker.make(in: place.namespace) { [self] made in
        var watch = watch
        watch.lap("namespace")
        let isAccepted = writer.submit { [self, watch] in
          continuation.resume(returning: Result { () throws(NetworkError) in try put(made.get(), at: place, watch) })
        }
        if !isAccepted { continuation.resume(returning: .failure(.closed)) }
      }
    }
  }

  /// A4 and A5 of what waits; all of them where somebody took that away.
  private func attach(
    _ spare: SparePod, _ place: Place, _ watch: Stopwatch
  ) async -> Result<Attachment, NetworkError> {
    do throws(NetworkError) {
      let attachment = try await writer.run { [self] () throws(NetworkError) in try put(spare, at: place, watch) }
      if let attachment { return .success(attachment) }
    } catch {
      return .failure(error)
    }
    return await attach(place, watch)
  }

  private func claim(_ ports: Set<PublishedPort>, for sandbox: Identifier, _ lease: AddressLease) throws(NetworkError) {
    let result = ledger.withLock { ledger in
      Result { () throws(NetworkError) in
        if let there = ledger.ports[lease.hostInterface], there.sandbox == sandbox, there.detachedAt == nil {
          throw .interfaceTaken(name: lease.hostInterface, owner: "sandbox \(sandbox.short) has it already")
        }
        try ledger.claims.claim(ports, for: sandbox)
      }
    }
    try result.get()
  }

  /// A2 to A5, on the writer's thread.
  private func put(
    _ namespace: NamespaceMaker.Namespace, at place: Place, _ begun: Stopwatch
  ) throws(NetworkError) -> Attachment {
    var watch = begun
    watch.lap("queue")
    checkBridgeNetfilter()
    let (sandbox, lease) = (place.sandbox, place.lease)
    try place.check("veth", patience)
    try host.fillPairs(for: place.number)
    let link = try makeVeth(lease, place.mac, namespace)
    ledger.withLock { $0.attached(sandbox, lease, number: place.number, link: link) }
    watch.lap("veth")
    do throws(NetworkError) {
      try place.check("inside", patience)
      try host.configureInside(namespace.routes, link, lease)
      watch.lap("inside")
      try restrict(place, link.index)
      if place.traffic != TrafficOptions() { watch.lap("traffic") }
      try place.check("host", patience)
      try host.connect(link, sandbox, lease, mac: place.mac, inside: namespace.routes)
      watch.lap("host")
    } catch {
      // The pair follows its namespace, which nobody but us holds.
      release(sandbox, lease)
      throw error
    }
    return try finish(namespace, place, watch)
  }

  /// The same with a spare pod.
  /// - Returns: nil where that is of no use any more.
  private func put(_ spare: SparePod, at place: Place, _ begun: Stopwatch) throws(NetworkError) -> Attachment? {
    var watch = begun
    watch.lap("queue")
    checkBridgeNetfilter()
    guard let namespace = spare.namespace else { return nil }
    if place.traffic != TrafficOptions() {
      guard restrict(spare, place) else { return nil }
      watch.lap("traffic")
    }
    guard wake(spare, place.sandbox, place.lease, place.mac) else { return nil }
    watch.lap("host")
    return try finish(namespace, place, watch)
  }

  /// A5.
  private func finish(
    _ namespace: NamespaceMaker.Namespace, _ place: Place, _ begun: Stopwatch
  ) throws(NetworkError) -> Attachment {
    var watch = begun
    do throws(NetworkError) {
      try place.check("ports", patience)
      try host.publish(place.ports, for: place.sandbox)
      if !place.ports.isEmpty { watch.lap("ports") }
      try Failpoint.attachDone.pass("attach", "sandbox \(place.sandbox.short)")
    } catch {
      release(place.sandbox, place.lease)
      throw error
    }
    return Attachment(
      namespace: namespace.descriptor, lease: place.lease, gateway: plan.gateway.description, timings: watch.laps)
  }

  /// A2, on the writer's thread.
  func makeVeth(
    _ lease: AddressLease, _ mac: MACAddress, _ namespace: NamespaceMaker.Namespace
  ) throws(NetworkError) -> PodLink {
    let ports = ledger.withLock { $0.portCounts }
    let link = try host.makeVeth(lease, namespace: namespace.descriptor.raw, mac: mac, ports: ports) { holder in
      ledger.withLock { $0.live[holder] != nil }
    }
    if ports[link.bridge] == Self.crowd - 1 {
      logger.warning(
        "a bridge is nearly full",
        metadata: [
          "bridge": "\(plan.bridgeName(link.bridge))", "ports": "\(Self.crowd)", "limit": "\(HostSide.portLimit)",
          "then": "\(plan.bridgeLimit > 1 ? "further pods go to another bridge" : "further pods are refused")",
        ])
    }
    health.withLock { health in
      if health.bridges != host.bridges { health.now(host.bridges, host.fingerprint) }
    }
    return link
  }

  /// With so many ports of a bridge we warn.
  private static let crowd = 900

  /// What the pod may not do is settled before it can talk.
  private func restrict(_ place: Place, _ index: Int32) throws(NetworkError) {
    try host.join(place.traffic, place.lease)
    noteRules()
    if let shaper = try host.limit(index, place.sandbox, place.lease, place.traffic) {
      ledger.withLock { $0.shaped(index, by: shaper) }
    }
  }

  /// - Returns: false when the spare pod is of no use; nothing of it is left in the books then, and a new one will tell
  ///   why, if it was not the spare's fault.
  private func restrict(_ spare: SparePod, _ place: Place) -> Bool {
    ledger.withLock { $0.attached(place.sandbox, place.lease, number: spare.number, link: spare.link) }
    do throws(NetworkError) {
      try restrict(place, spare.link.index)
      return true
    } catch {
      logger.notice(
        "a spare pod is of no use", metadata: ["link": "\(place.lease.hostInterface)", "error": "\(error)"])
      ledger.withLock { $0.spareFailed(place.lease.hostInterface) }
      return false
    }
  }

  /// The rules are as we changed them, and no drift.
  private func noteRules() {
    guard plan.configuration.isolation == .label, let fingerprint = host.fingerprint else { return }
    health.withLock { $0.rules = fingerprint }
  }

  /// Cuts the sandbox off at once, and gives its lease back: its address is handed out again 30 s after the kernel has
  /// removed the link, which it does when the last holder of the namespace is gone. Idempotent; never waits for that.
  package func detach(sandbox: Identifier, lease: AddressLease) async {
    do throws(NetworkError) {
      try await writer.run { [self] () throws(NetworkError) in release(sandbox, lease) }
    } catch {
      logger.debug("detach after shutdown", metadata: ["sandbox": "\(sandbox.short)"])
    }
  }

  /// On the writer's thread.
  private func release(_ sandbox: Identifier, _ lease: AddressLease) {
    Failpoint.detachMark.reach()
    let (action, ports) = ledger.withLock { ledger in
      (
        ledger.detached(sandbox, lease, number: plan.number(of: lease), at: bootTime()),
        ledger.claims.release(sandbox)
      )
    }
    Failpoint.detachPorts.reach()
    host.withdraw(ports, of: sandbox)
    // Not what a later sandbox with this address has.
    if action != .nothing {
      host.leave(lease)
      noteRules()
    }
    guard case .cut(let index, let bridge) = action else { return }
    tally.withLock { $0.detached += 1 }
    Failpoint.detachCut.reach()
    host.cut(index, bridge: bridge, lease)
    Failpoint.detachDone.reach()
    observer.wake()
  }

  // MARK: the whole

  /// Whether pods get a network now: bridge up with its addresses, rules there, forwarding on. At most a second old.
  package func readiness() async -> NetworkReadiness {
    let health = health.withLock { $0 }
    if let known = health.known, ContinuousClock.now - known.at < .seconds(1) { return known.readiness }
    guard let found = await observer.check(bridge: health.bridge, rules: health.rules) else {
      return .notReady(reason: "ShutDown", message: "the pod network is shut down")
    }
    self.health.withLock { current in
      if current.epoch == health.epoch { current.known = (found, .now) }
    }
    return found
  }

  /// Ends our threads. Links, rules and traffic stay.
  package func shutdown() async {
    health.withLock { $0.isClosed = true }
    dropSpares(forGood: true)
    lossSink.finish()
    observer.stop()
    peerWatch?.wake()
    writer.stop()
  }

  /// Removes all that is ours from the kernel: pods' links, the bridge, routes to other nodes, the tunnel, both tables.
  package func uninstall() async throws(NetworkError) {
    health.withLock { $0.isClosed = true }
    dropSpares(forGood: true)
    try await writer.run { [self] () throws(NetworkError) in
      try host.remove(try host.routes.links().filter { host.isOurs($0) || host.isShaper($0) }.map(\.index))
      try peerSide.remove()
      try host.removeRules()
      try host.removeForwardRules()
      try host.removeBridge()
    }
    await shutdown()
  }
}

/// Times of steps in a row.
private struct Stopwatch: Sendable {
  private(set) var laps: [(step: String, duration: Duration)] = []
  private var last = ContinuousClock.now

  mutating func lap(_ step: String) {
    let now = ContinuousClock.now
    laps.append((step, now - last))
    last = now
  }
}
