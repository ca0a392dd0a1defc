internal import CNetlink
internal import Glibc
internal import Logging
internal import RuntimeModel

/// Brings the kernel to what the leases say. Every line is a difference, so that the second run changes nothing.
extension HostSide {
  struct Finding {
    var removed: [Link] = []
    var lost: [Identifier] = []
    var repairs: [String] = []
    /// Where every live sandbox that has its link is.
    var present: [Identifier: PodLink] = [:]
  }

  func reconcile(live: [Identifier: AddressLease]) throws(NetworkError) -> Finding {
    var finding = Finding()
    var found: [Identifier: Link] = [:]
    for link in try routes.links() where isOurs(link) {
      if let sandbox = LinkAlias.sandbox(link.alias), link.group != plan.dyingGroup,
        live[sandbox]?.hostInterface == link.name
      {
        found[sandbox] = link
      } else {
        finding.removed.append(link)
      }
    }
    try remove(finding.removed.map(\.index))
    finding.lost = live.keys.filter { found[$0] == nil }.sorted()
    finding.repairs += try repairPorts(found, live, &finding.present)
    finding.repairs += try repairEntries(finding.present, live)
    finding.repairs += try repairHostRoutes(finding.present, live)
    return finding
  }

  /// A port that is in none of our bridges comes into the first with room.
  private func repairPorts(
    _ found: [Identifier: Link], _ live: [Identifier: AddressLease], _ present: inout [Identifier: PodLink]
  ) throws(NetworkError) -> [String] {
    var repairs: [String] = []
    let numbers = Dictionary(bridges.map { ($0.value, $0.key) }) { first, _ in first }
    for (sandbox, link) in found {
      if let number = numbers[link.master] { present[sandbox] = PodLink(index: link.index, bridge: number) }
    }
    var counts = present.values.reduce(into: [Int: Int]()) { $0[$1.bridge, default: 0] += 1 }
    for (sandbox, link) in found where present[sandbox] == nil || !link.isUp || !link.isPort(like: port) {
      guard let lease = live[sandbox] else { continue }
      if present[sandbox] == nil {
        let number = try inBridgeWithRoom(counts) { number, bridge throws(NetworkError) in
          let name = plan.bridgeName(number)
          try routes.run { batch throws(NetworkError) in
            try batch.add("put", "\(link.name) into \(name)", RouteMessage.setMaster(link.index, bridge: bridge))
          }
          return number
        }
        counts[number, default: 0] += 1
        present[sandbox] = PodLink(index: link.index, bridge: number)
      }
      try routes.run { batch throws(NetworkError) in try addPort(batch, link.index, sandbox, lease) }
      repairs.append("port \(link.name)")
    }
    return repairs
  }

  private func repairEntries(
    _ links: [Identifier: PodLink], _ live: [Identifier: AddressLease]
  ) throws(NetworkError) -> [String] {
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
      guard let address = entry.address, bridges.values.contains(entry.interface) else { return false }
      return plan.podBlocks.contains { $0.contains(address) }
        && !places.contains(Place(interface: entry.interface, address: address))
    }
    let messages = stale.map { ("remove neighbour", $0, true) } + missing.map { ("add entry", $0, false) }
    for part in stride(from: 0, to: messages.count, by: 64) {
      try routes.run { batch throws(NetworkError) in
        for (step, entry, isStale) in messages[part..<min(part + 64, messages.count)] {
          try batch.add(
            step, entry.description, tolerating: isStale ? [ENOENT] : [], message(entry, remove: isStale))
        }
      }
    }
    return messages.map { "\($0.0) \($0.1)" }.sorted()
  }

  private struct Place: Hashable {
    var interface: Int32
    var address: IPAddress
  }

  /// Routes to the pods behind overflow bridges.
  private func repairHostRoutes(
    _ links: [Identifier: PodLink], _ live: [Identifier: AddressLease]
  ) throws(NetworkError) -> [String] {
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
    return changes.map { "\($0.0) \($0.1.address)" }.sorted()
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
