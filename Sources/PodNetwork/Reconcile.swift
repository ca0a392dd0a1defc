internal import CNetlink
internal import Glibc
internal import Logging
internal import RuntimeModel

/// Brings the kernel to what the leases say. Every line is a difference, so that the second run changes nothing.
extension HostSide {
  struct Finding {
    var removed: [Link] = []
    var lost: [Identifier] = []
    var repairs: [NetworkRepair] = []
    /// Where every live sandbox that has its link is.
    var present: [Identifier: PodLink] = [:]
    /// Interface indexes of all links of the node.
    var links: Set<Int32> = []
  }

  /// - Parameter removing: what nobody knows goes: right at the start, when the leases are all there is; not later, when
  ///   there are links on their way in and out.
  func reconcile(live: [Identifier: AddressLease], removing: Bool) throws(NetworkError) -> Finding {
    var finding = Finding()
    var found: [Identifier: Link] = [:]
    let links = try routes.links()
    finding.links = Set(links.map(\.index))
    for link in links where isOurs(link) {
      if let sandbox = LinkAlias.sandbox(link.alias), link.group != plan.dyingGroup,
        live[sandbox]?.hostInterface == link.name
      {
        found[sandbox] = link
      } else if removing {
        finding.removed.append(link)
      }
    }
    try remove(finding.removed.map(\.index))
    finding.lost = live.keys.filter { found[$0] == nil }.sorted()
    finding.repairs += try repairPorts(found, live, &finding.present)
    finding.repairs += try repairEntries(finding.present, live, removing: removing)
    finding.repairs += try repairHostRoutes(finding.present, live)
    return finding
  }

  /// A port that is in none of our bridges comes into the first with room.
  private func repairPorts(
    _ found: [Identifier: Link], _ live: [Identifier: AddressLease], _ present: inout [Identifier: PodLink]
  ) throws(NetworkError) -> [NetworkRepair] {
    var repairs: [NetworkRepair] = []
    let numbers = Dictionary(bridges.map { ($0.value, $0.key) }) { first, _ in first }
    for (sandbox, link) in found {
      if let number = numbers[link.master] { present[sandbox] = PodLink(index: link.index, bridge: number) }
    }
    var counts = present.values.reduce(into: [Int: Int]()) { $0[$1.bridge, default: 0] += 1 }
    for (sandbox, link) in found where present[sandbox] == nil || !link.isUp || !link.isPort(like: port) {
      guard let lease = live[sandbox] else { continue }
      do throws(NetworkError) {
        if present[sandbox] == nil {
          let number = try putIntoBridge(link, counts)
          counts[number, default: 0] += 1
          present[sandbox] = PodLink(index: link.index, bridge: number)
        }
        try routes.run { batch throws(NetworkError) in try addPort(batch, link.index, sandbox, lease) }
        repairs.append(NetworkRepair(.port, "port \(link.name)"))
      } catch {
        // Its pod may end this moment; then the kernel tells us so.
        guard try routes.link(index: link.index) == nil else { throw error }
        present[sandbox] = nil
      }
    }
    return repairs
  }

  /// - Returns: the number of the bridge that took it.
  private func putIntoBridge(_ link: Link, _ ports: [Int: Int]) throws(NetworkError) -> Int {
    try inBridgeWithRoom(ports) { number, bridge throws(NetworkError) in
      let name = plan.bridgeName(number)
      try routes.run { batch throws(NetworkError) in
        try batch.add("put", "\(link.name) into \(name)", RouteMessage.setMaster(link.index, bridge: bridge))
      }
      return number
    }
  }

  private func repairEntries(
    _ links: [Identifier: PodLink], _ live: [Identifier: AddressLease], removing: Bool
  ) throws(NetworkError) -> [NetworkRepair] {
    var wanted: Set<Neighbour> = []
    var places: Set<Place> = []
    for (sandbox, link) in links {
      guard let lease = live[sandbox], let mac = MACAddress(lease.mac), let bridge = bridges[link.bridge] else {
        continue
      }
      wanted.insert(Neighbour(interface: link.index, address: nil, mac: mac))
      for address in addresses(lease) {
        wanted.insert(Neighbour(interface: bridge, address: address, mac: mac))
        places.insert(Place(interface: bridge, address: address))
      }
    }
    var present: Set<Neighbour> = []
    for family in [AF_BRIDGE, AF_INET, AF_INET6] { present.formUnion(try routes.fixedNeighbours(family: family)) }
    let missing = wanted.subtracting(present)
    let stale = present.subtracting(wanted).filter { entry in
      guard removing, let address = entry.address, bridges.values.contains(entry.interface) else { return false }
      return plan.podBlocks.contains { $0.contains(address) }
        && !places.contains(Place(interface: entry.interface, address: address))
    }
    let messages = stale.map { ("remove neighbour", $0, true) } + missing.map { ("add entry", $0, false) }
    for part in stride(from: 0, to: messages.count, by: 64) {
      try routes.run { batch throws(NetworkError) in
        for (step, entry, isStale) in messages[part..<min(part + 64, messages.count)] {
          // A link whose pod ends this moment.
          let isPort = entry.address == nil
          try batch.add(
            step, entry.description, tolerating: isStale ? [ENOENT] : isPort ? [ENODEV] : [],
            message(entry, remove: isStale))
        }
      }
    }
    return messages.map { step, entry, _ in
      NetworkRepair(entry.address == nil ? .forwardingEntry : .neighbour, "\(step) \(entry)")
    }.sorted { $0.text < $1.text }
  }

  private struct Place: Hashable {
    var interface: Int32
    var address: IPAddress
  }

  /// Routes to the pods behind overflow bridges.
  private func repairHostRoutes(
    _ links: [Identifier: PodLink], _ live: [Identifier: AddressLease]
  ) throws(NetworkError) -> [NetworkRepair] {
    guard bridges.count > 1 else { return [] }
    var wanted: Set<Place> = []
    for (sandbox, link) in links where link.bridge > 0 {
      guard let lease = live[sandbox], let bridge = bridges[link.bridge] else { continue }
      for address in addresses(lease) { wanted.insert(Place(interface: bridge, address: address)) }
    }
    var present: Set<Place> = []
    for block in plan.podBlocks {
      for route in try routes.routes(block.family)
      where route.interface != bridge && bridges.values.contains(route.interface)
        && route.destination.prefix == block.family.width && block.contains(route.destination)
      {
        present.insert(Place(interface: route.interface, address: route.destination.base))
      }
    }
    // The kernel makes one for the gateway of an IPv6 bridge by itself.
    let gateways = Set(plan.bridgeAddresses.map(\.address))
    let changes =
      present.subtracting(wanted).filter { !gateways.contains($0.address) }.map { ("remove route", $0) }
      + wanted.subtracting(present).map { ("add route", $0) }
    for part in stride(from: 0, to: changes.count, by: 64) {
      try routes.run { batch throws(NetworkError) in
        for (step, place) in changes[part..<min(part + 64, changes.count)] {
          let isStale = step == "remove route"
          try batch.add(
            step, "\(place.address) on interface \(place.interface)", tolerating: isStale ? [ESRCH] : [],
            RouteMessage.hostRoute(place.interface, place.address, remove: isStale))
        }
      }
    }
    return changes.map { NetworkRepair(.route, "\($0.0) \($0.1.address)") }.sorted { $0.text < $1.text }
  }

  /// The routes that the kernel makes for the bridge's addresses, and that anybody may delete. They come back as the
  /// kernel's own, so that they go with the address.
  func repairRoutes() throws(NetworkError) -> [NetworkRepair] {
    var missing: [(block: AddressBlock, source: IPAddress)] = []
    for family in AddressFamily.allCases {
      let wanted = plan.bridgeAddresses.filter { $0.address.family == family }
      guard !wanted.isEmpty else { continue }
      let present = Set(try routes.routes(family).filter { $0.interface == bridge }.map(\.destination))
      missing += wanted.map { (AddressBlock($0.address, prefix: $0.prefix), $0.address) }
        .filter { !present.contains($0.0) }
    }
    try routes.run { batch throws(NetworkError) in
      for (block, source) in missing {
        try batch.add("add route \(block) to", plan.bridge, RouteMessage.connectedRoute(bridge, block, source))
      }
    }
    return missing.map { NetworkRepair(.route, "route \($0.block) on \(plan.bridge)") }
  }

  private func message(_ entry: Neighbour, remove: Bool) -> OpaquePointer? {
    guard let address = entry.address else {
      return RouteMessage.forwarding(entry.interface, entry.mac, remove: remove)
    }
    return RouteMessage.neighbour(entry.interface, address, remove ? nil : entry.mac)
  }
}

extension Neighbour: CustomStringConvertible {
  var description: String { "\(address.map { "\($0) " } ?? "")\(mac) on interface \(interface)" }
}
