internal import CNetlink
internal import Glibc
internal import Logging

/// More pods than one bridge has ports (NETWORK.md 5.3): an overflow bridge has the same MAC and gateway, and instead of
/// the route to the pod block one to each of its pods.
extension HostSide {
  /// The kernel's BR_MAX_PORTS, less port 0.
  static let portLimit = 1023
  /// How long a refusal of a bridge with ports of others counts.
  private static let refusalLife = Duration.seconds(60)

  /// Has `body` put a port into the first bridge that takes it, and makes the next one where none does.
  /// - Parameter ports: how many of ours each bridge has.
  /// - Throws: `bridgeFull` when there may be no further one.
  func inBridgeWithRoom<Value>(
    _ ports: [Int: Int], _ body: (Int, Int32) throws(NetworkError) -> Value
  ) throws(NetworkError) -> Value {
    for number in 0..<plan.bridgeLimit where hasRoom(number, ports) {
      do throws(NetworkError) {
        return try body(number, try number == 0 ? bridge : overflowBridge(number))
      } catch {
        guard case .kernel(_, EXFULL, _, _) = error else { throw error }
        refusals[number] = (ports[number] ?? 0, bootTime())
      }
    }
    throw .bridgeFull(name: plan.bridge)
  }

  /// A refused creation is undone by the kernel in a grace period, so it is not asked in vain for every pod.
  private func hasRoom(_ number: Int, _ ports: [Int: Int]) -> Bool {
    guard plan.bridgeLimit > 1 else { return true }
    let count = ports[number] ?? 0
    if let refusal = refusals[number], bootTime() - refusal.at < Self.refusalLife { return count < refusal.ports }
    return count < Self.portLimit
  }

  /// - Returns: its interface index; it is up, and the rules know it.
  private func overflowBridge(_ number: Int) throws(NetworkError) -> Int32 {
    if let known = bridges[number] { return known }
    let name = plan.bridgeName(number)
    let isNew = try routes.link(named: name) == nil
    let changes = try ensureBridge(number, live: [])
    do throws(NetworkError) {
      try applySysctls(ofBridge: name)
      if !rules.published.isEmpty { try set("ipv4/conf/\(name)/route_localnet", "1") }
      rules.bridges = bridgeNames
      _ = try replaceRules()
    } catch {
      if isNew { try? removeOverflow(number) }
      throw error
    }
    for change in changes { logger.notice("overflow bridge", metadata: ["what": "\(change)"]) }
    return bridges[number] ?? 0
  }

  var bridgeNames: [String] { bridges.keys.sorted().map(plan.bridgeName) }

  /// Takes over the overflow bridges of an earlier daemon.
  func findOverflow() throws(NetworkError) {
    for link in try routes.links() {
      guard let number = plan.bridgeNumber(ofInterface: link.name), number > 0, isOurBridge(link, number) else {
        continue
      }
      bridges[number] = link.index
    }
    rules.bridges = bridgeNames
  }

  /// - Parameter occupied: numbers of the bridges that have pods.
  func removeIdleOverflow(occupied: Set<Int>) throws(NetworkError) {
    for number in bridges.keys.sorted() where number > 0 && !occupied.contains(number) { try removeOverflow(number) }
    rules.bridges = bridgeNames
  }

  func removeOverflow(_ number: Int) throws(NetworkError) {
    guard let index = bridges[number], number > 0 else { return }
    try routes.run { batch throws(NetworkError) in
      try batch.add("remove bridge", plan.bridgeName(number), tolerating: [ENODEV], RouteMessage.delete(index))
    }
    bridges[number] = nil
    rules.bridges = bridgeNames
  }
}
