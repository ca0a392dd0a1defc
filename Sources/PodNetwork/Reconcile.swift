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
    /// Interface index of every live sandbox that has its link.
    var present: [Identifier: Int32] = [:]
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
    finding.present = found.mapValues(\.index)
    finding.repairs += try repairPorts(found, live)
    finding.repairs += try repairEntries(found, live)
    return finding
  }

  private func repairPorts(
    _ found: [Identifier: Link], _ live: [Identifier: AddressLease]
  ) throws(NetworkError) -> [String] {
    var repairs: [String] = []
    for (sandbox, link) in found where link.master != bridge || !link.isUp || !link.isPort(like: port) {
      guard let lease = live[sandbox] else { continue }
      try routes.run { batch throws(NetworkError) in
        if link.master != bridge {
          try batch.add("put", "\(link.name) into \(plan.bridge)", RouteMessage.setMaster(link.index, bridge: bridge))
        }
        try addPort(batch, link.index, sandbox, lease)
      }
      repairs.append("port \(link.name)")
    }
    return repairs
  }

  private func repairEntries(
    _ found: [Identifier: Link], _ live: [Identifier: AddressLease]
  ) throws(NetworkError) -> [String] {
    var wanted: Set<Neighbour> = []
    for (sandbox, link) in found {
      guard let lease = live[sandbox], let mac = MACAddress(lease.mac) else { continue }
      wanted.insert(Neighbour(interface: link.index, address: nil, mac: mac))
      for address in addresses(lease) { wanted.insert(Neighbour(interface: bridge, address: address, mac: mac)) }
    }
    var present: Set<Neighbour> = []
    for family in [AF_BRIDGE, AF_INET, AF_INET6] { present.formUnion(try routes.fixedNeighbours(family: family)) }
    let missing = wanted.subtracting(present)
    let stale = present.subtracting(wanted).filter { entry in
      guard entry.interface == bridge, let address = entry.address else { return false }
      return plan.podBlocks.contains { $0.contains(address) }
        && !wanted.contains { $0.address == address }
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
