internal import CNetlink
internal import RuntimeModel
internal import Synchronization

/// To look at: nothing here writes, to the kernel or to our memory of it.
extension PodNetwork {
  /// The name of every pod's interface.
  package static var podInterface: String { PodInterface.name }

  /// The network as it is now, all sandboxes' attachments included.
  /// - Throws: `kernel` when it cannot be read.
  package func overview() async throws(NetworkError) -> NetworkOverview {
    let look = try await KernelLook.take(plan)
    let (ports, allocator, pool) = ledger.withLock { (Array($0.ports.values), $0.allocator, $0.pool) }
    var overview = NetworkOverview()
    overview.uplink = look.describedUplink
    overview.bridges = bridges(look)
    for port in ports where port.detachedAt == nil || overview.attachments[port.sandbox] == nil {
      overview.attachments[port.sandbox] = status(port, look)
    }
    let known = ports.map(\.lease.hostInterface) + pool.numbers.map { plan.lease($0).hostInterface }
    let leaked = UInt64(leakedLinks(look, known: Set(known)))
    let now = bootTime()
    overview.blocks = plan.podBlocks.map { block in
      NetworkOverview.Block(
        cidr: block.description, size: UInt64(plan.hostNumbers.count), used: UInt64(allocator.used),
        resting: UInt64(allocator.resting(at: now)), leaked: leaked)
    }
    overview.directCIDRs = plan.direct.map(\.description)
    overview.isMasquerading = plan.configuration.masquerade
    overview.tunnel = look.describedTunnel(plan.configuration.vxlan.device)
    overview.peerRoutes = Set(look.peerRoutes.map(\.description))
    overview.pool = (pool.ready.count, pool.size)
    overview.metrics = metrics(ports, overview)
    return overview
  }

  private func bridges(_ look: KernelLook) -> [NetworkOverview.Bridge] {
    var found = look.links.values.filter { plan.isBridge($0.link) }.map { seen in
      NetworkOverview.Bridge(
        name: seen.link.name, index: seen.link.index, mtu: seen.link.mtu, mac: look.mac(seen.link),
        isUp: seen.link.isUp,
        addresses: (look.addresses[seen.link.index] ?? []).map { "\($0.address)/\($0.prefix)" },
        ports: UInt32(look.links.values.count { $0.link.master == seen.link.index }))
    }
    if !found.contains(where: { $0.name == plan.bridge }) {
      found.append(NetworkOverview.Bridge(name: plan.bridge, index: 0))
    }
    return found.sorted { ($0.name.utf8.count, $0.name) < ($1.name.utf8.count, $1.name) }
  }

  private func status(_ port: Ledger.Port, _ look: KernelLook) -> AttachmentStatus {
    let state: AttachmentStatus.LeaseState =
      port.detachedAt != nil ? .releasing : port.index == nil ? .lost : .bound
    var status = AttachmentStatus(lease: port.lease, gateway: plan.gateway.description, state: state)
    guard let index = port.index, let seen = look.links[index], seen.link.name == port.lease.hostInterface else {
      if state == .bound { status.drift = ["interface \(port.lease.hostInterface) is gone"] }
      return status
    }
    status.hostIndex = index
    status.bridge = look.links[seen.link.master]?.link.name ?? ""
    status.linkState = !seen.link.isUp ? "down" : seen.hasCarrier ? "up" : "no carrier"
    status.mtu = seen.link.mtu
    status.traffic = seen.traffic.reversed
    if state == .bound { status.drift = drift(port, seen, look) }
    return status
  }

  /// Where the kernel differs from what attach left.
  private func drift(_ port: Ledger.Port, _ seen: KernelLook.SeenLink, _ look: KernelLook) -> [String] {
    var drift: [String] = []
    let master = look.links[seen.link.master]?.link
    if master.map(plan.isBridge) != true { drift.append("\(seen.link.name) is not in \(plan.bridge)") }
    if !seen.link.isUp { drift.append("\(seen.link.name) is down") }
    if master != nil, seen.link.portOptions[IFLA_BRPORT_LOCKED] != 1 {
      drift.append("port \(seen.link.name) is not locked to its MAC")
    }
    guard let mac = MACAddress(port.lease.mac) else { return drift }
    if !look.entries.contains(Neighbour(interface: seen.link.index, address: nil, mac: mac)) {
      drift.append("forwarding entry \(mac) is missing")
    }
    if let bridge = master?.index {
      for address in port.lease.addresses.compactMap({ IPAddress($0) })
      where !look.entries.contains(Neighbour(interface: bridge, address: address, mac: mac)) {
        drift.append("neighbour \(address) is missing on \(plan.bridge)")
      }
    }
    return drift
  }

  /// Links with our mark and a name from our blocks that nobody has.
  private func leakedLinks(_ look: KernelLook, known: Set<String>) -> Int {
    look.links.values.map(\.link).count { link in
      link.kind == "veth" && [plan.configuration.groupID, plan.dyingGroup].contains(link.group)
        && plan.number(ofInterface: link.name) != nil && !known.contains(link.name)
    }
  }

  private func metrics(_ ports: [Ledger.Port], _ overview: NetworkOverview) -> [NetworkMetric] {
    let states: [AttachmentStatus.LeaseState] = [.bound, .releasing, .lost]
    var metrics = states.map { state in
      NetworkMetric(
        "podnet_leases", .gauge, "Addresses by what they do.", labels: ["state": state.rawValue],
        Double(overview.attachments.values.count { $0.state == state }))
    }
    if let block = overview.blocks.first {
      let pooled = UInt64(overview.pool.ready)
      for (state, count) in [("pooled", pooled), ("resting", block.resting), ("leaked", block.leaked)] {
        metrics.append(
          NetworkMetric(
            "podnet_leases", .gauge, "Addresses by what they do.", labels: ["state": state], Double(count)))
      }
    }
    let published = ledger.withLock { $0.claims.owners.values.reduce(0) { $0 + $1.count } }
    metrics.append(NetworkMetric("podnet_hostports", .gauge, "Host ports published.", Double(published)))
    if let ratio = Self.conntrackRatio {
      metrics.append(
        NetworkMetric("podnet_conntrack_used_ratio", .gauge, "Share of the connection table in use.", ratio))
    }
    return metrics
  }

  /// nil where the kernel tracks no connections.
  private static var conntrackRatio: Double? {
    guard
      let count = Sysctl.read("netfilter/nf_conntrack_count").flatMap(Double.init),
      let limit = Sysctl.read("netfilter/nf_conntrack_max").flatMap(Double.init), limit > 0
    else { return nil }
    return count / limit
  }
}

extension KernelLook {
  fileprivate func mac(_ link: Link) -> String { MACAddress(bytes: link.mac).description }

  fileprivate func describedTunnel(_ name: String) -> NetworkOverview.Tunnel? {
    guard let tunnel, let tunnelIndex, let seen = links[tunnelIndex] else { return nil }
    return NetworkOverview.Tunnel(
      name: name, identifier: tunnel.vni, port: tunnel.port, mtu: seen.link.mtu, mac: mac(seen.link),
      isUp: seen.link.isUp, addresses: (addresses[tunnelIndex] ?? []).map { "\($0.address)/\($0.prefix)" },
      traffic: seen.traffic)
  }

  fileprivate var describedUplink: NetworkOverview.Uplink? {
    guard let uplink, let link = links[uplink]?.link else { return nil }
    let shown = (addresses[uplink] ?? []).map(\.address).filter { address in
      address.family == .ipv4 || address.value >> 118 != 0xfe80 >> 6  // not fe80::/10
    }
    return NetworkOverview.Uplink(name: link.name, addresses: shown.map(\.description), mtu: link.mtu)
  }
}

extension WarmPool {
  /// The host numbers that it holds, one way or another.
  fileprivate var numbers: [UInt32] {
    ready.map(\.number) + taken.keys + dropped.values.map(\.number) + [making].compactMap(\.self)
  }
}
