internal import CNetlink
internal import Glibc
internal import Logging
internal import RuntimeModel
internal import Synchronization

/// Limits of a pod's bandwidth. Both lie outside of the pod, where no capability of it reaches: into the pod, a token
/// bucket on the host end; out of it, one on a device of its own (an IFB) that all frames of the pod go through before
/// the bridge sees them. All of it on the writer's thread.
extension HostSide {
  /// A6, before the pod can talk. On failure no device is left; a queue goes with the host end.
  /// - Returns: interface index of the shaper, where the pod has one.
  func limit(
    _ index: Int32, _ sandbox: Identifier, _ lease: AddressLease, _ traffic: TrafficOptions
  ) throws(NetworkError) -> Int32? {
    try limitIngress(index, lease, traffic)
    guard let rate = traffic.egressRate else { return nil }
    let shaper = try makeShaper(sandbox, lease)
    do throws(NetworkError) {
      try fill(shaper, lease, rate)
      try routes.run { batch throws(NetworkError) in try redirect(batch, index, lease, through: shaper) }
    } catch {
      do throws(NetworkError) { try remove([shaper]) } catch {
        logger.warning("a shaper could not be removed", metadata: ["error": "\(error)"])
      }
      throw error
    }
    return shaper
  }

  /// Brings the limits to what the sandboxes ask for, and removes shapers of nobody.
  /// - Parameter present: interface index of each live sandbox's host end.
  /// - Returns: shapers by the index of the host end, and what was changed, for people.
  func reconcileLimits(
    live: [Identifier: AddressLease], present: [Identifier: Int32], _ traffic: [Identifier: TrafficOptions]
  ) throws(NetworkError) -> (shapers: [Int32: Int32], repairs: [NetworkRepair]) {
    var found: [String: Link] = [:]
    for link in try routes.links() where isShaper(link) { found[link.name] = link }
    var shapers: [Int32: Int32] = [:]
    var repairs: [NetworkRepair] = []
    for (sandbox, index) in present.sorted(by: { $0.key < $1.key }) {
      guard let lease = live[sandbox], let asked = traffic[sandbox] else { continue }
      try limitIngress(index, lease, asked)
      guard let rate = asked.egressRate else { continue }
      if let there = found.removeValue(forKey: Self.shaperName(lease)), there.group != plan.dyingGroup {
        try fill(there.index, lease, rate)
        shapers[index] = there.index
        continue
      }
      // The filter led into a device that is gone, and let nothing through.
      try routes.run { batch throws(NetworkError) in
        try batch.add(
          "remove filter of", lease.hostInterface, tolerating: [ENOENT, EINVAL],
          TrafficMessage.ingress(index, remove: true))
      }
      shapers[index] = try limit(index, sandbox, lease, asked)
      repairs.append(NetworkRepair(.bandwidth, "bandwidth limit of \(lease.hostInterface)"))
    }
    try remove(found.values.map(\.index))
    return (
      shapers, repairs + found.keys.sorted().map { NetworkRepair(.bandwidth, "removed \($0), which limited nobody") }
    )
  }

  /// Ours by its mark and its name, which is of our pods.
  func isShaper(_ link: Link) -> Bool {
    link.kind == "ifb" && [plan.configuration.groupID, plan.dyingGroup].contains(link.group)
      && link.name.hasPrefix(Self.shaperPrefix)
      && plan.number(ofInterface: String(link.name.dropFirst(Self.shaperPrefix.count))) != nil
  }

  private static let shaperPrefix = "i"

  private static func shaperName(_ lease: AddressLease) -> String { shaperPrefix + lease.hostInterface }

  private func limitIngress(
    _ index: Int32, _ lease: AddressLease, _ traffic: TrafficOptions
  ) throws(NetworkError) {
    guard let rate = traffic.ingressRate else { return }
    try routes.run { batch throws(NetworkError) in
      try batch.add(
        "limit what enters", lease.hostInterface,
        TrafficMessage.tokenBucket(index, TokenBucket(bitsPerSecond: rate, mtu: plan.mtu)))
    }
  }

  private func makeShaper(_ sandbox: Identifier, _ lease: AddressLease) throws(NetworkError) -> Int32 {
    let name = Self.shaperName(lease)
    do throws(NetworkError) {
      return try tryShaper(name)
    } catch {
      guard case .kernel(_, EEXIST, _, _) = error, let link = try routes.link(named: name) else { throw error }
      // One of an earlier pod with this address, whose link the kernel has just removed.
      guard isShaper(link) else { throw .interfaceTaken(name: name, owner: describe(link)) }
      try remove([link.index])
      return try tryShaper(name)
    }
  }

  private func tryShaper(_ name: String) throws(NetworkError) -> Int32 {
    let outcomes = try routes.run { batch throws(NetworkError) in
      try batch.add(
        "create", name, TrafficMessage.createShaper(name: name, group: plan.configuration.groupID, mtu: plan.mtu))
    }
    return try made(name, outcomes).index
  }

  private func fill(_ shaper: Int32, _ lease: AddressLease, _ rate: UInt64) throws(NetworkError) {
    let name = Self.shaperName(lease)
    try routes.run { batch throws(NetworkError) in
      try batch.add("quieten", name, tolerating: [EAFNOSUPPORT], RouteMessage.noLinkLocal(shaper))
      try batch.add(
        "limit what leaves", name,
        TrafficMessage.tokenBucket(shaper, TokenBucket(bitsPerSecond: rate, mtu: plan.mtu)))
      try batch.add("set up", name, RouteMessage.change(shaper, up: true))
    }
  }

  private func redirect(
    _ batch: RouteBatch, _ index: Int32, _ lease: AddressLease, through shaper: Int32
  ) throws(NetworkError) {
    try batch.add("add filters to", lease.hostInterface, TrafficMessage.ingress(index))
    try batch.add(
      "send through \(Self.shaperName(lease))", lease.hostInterface, TrafficMessage.redirect(index, through: shaper))
  }
}

extension PodNetwork {
  /// Takes away the shapers of links that the kernel has removed; several at once cost one grace period.
  func removeShapers() {
    writer.submit { [weak self] in
      guard let self else { return }
      let idle = ledger.withLock { $0.takeIdleShapers() }
      guard !idle.isEmpty else { return }
      do throws(NetworkError) {
        try host.remove(idle)
      } catch {
        logger.warning("shapers could not be removed", metadata: ["error": "\(error)"])
      }
    }
  }
}
