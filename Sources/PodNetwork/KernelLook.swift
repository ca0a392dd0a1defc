internal import CNetlink
internal import Glibc
internal import LinuxSystem
internal import RuntimeModel

/// What the kernel shows of the pod network at one moment, read by sockets that live no longer than the look.
struct KernelLook: Sendable {
  /// One interface with its counters.
  struct SeenLink: Sendable {
    var link: Link
    /// As this interface counts.
    var traffic = LinkTraffic()
    /// There is a carrier.
    var hasCarrier = false
  }

  var links: [Int32: SeenLink] = [:]
  var addresses: [Int32: [InterfaceAddress]] = [:]
  /// Fixed neighbours and forwarding entries.
  var entries: Set<Neighbour> = []
  /// The tunnel to other nodes, where it is ours.
  var tunnel: Tunnel?
  var tunnelIndex: Int32?
  var peerRoutes: Set<AddressBlock> = []
  /// Interface of the default route with the lowest metric; IPv4 before IPv6.
  var uplink: Int32?

  /// In the network namespace of the calling thread. Blocking.
  init(_ plan: NetworkPlan) throws(NetworkError) {
    let routes = try NetlinkSocket(family: NETLINK_ROUTE)
    links = try routes.seenLinks()
    uplink = try Self.uplink(routes)
    if plan.configuration.backend.hasTunnel, let found = try routes.tunnel(named: plan.configuration.vxlan.device) {
      tunnel = found.tunnel
      tunnelIndex = found.link.index
    }
    for family in plan.podBlocks.map(\.family) {
      peerRoutes.formUnion(try routes.peerRoutes(family).map(\.destination))
    }
    for index in links.values.filter({ plan.isBridge($0.link) }).map(\.link.index)
      + [uplink, tunnelIndex].compactMap({ $0 })
    {
      addresses[index] = try routes.addresses(of: index).sorted { $0.address < $1.address }
    }
    for family in [AF_BRIDGE, AF_INET, AF_INET6] { entries.formUnion(try routes.fixedNeighbours(family: family)) }
  }

  /// Runs the look on a thread of its own, which is in the process's namespace as every thread of ours is.
  static func take(_ plan: NetworkPlan) async throws(NetworkError) -> KernelLook {
    let result: Result<KernelLook, NetworkError> = await withCheckedContinuation { continuation in
      do throws(NetworkError) {
        try startNetworkThread(named: "net-look") {
          continuation.resume(returning: Result { () throws(NetworkError) in try KernelLook(plan) })
        }
      } catch {
        continuation.resume(returning: .failure(error))
      }
    }
    return try result.get()
  }

  private static func uplink(_ routes: NetlinkSocket) throws(NetworkError) -> Int32? {
    for family in AddressFamily.allCases {
      let ways = try routes.routes(family).filter { $0.destination.prefix == 0 && $0.interface != 0 }
      if let way = ways.min(by: { $0.metric < $1.metric }) { return way.interface }
    }
    return nil
  }
}

extension NetworkPlan {
  /// The bridge, or one of those that take its overflow.
  func isBridge(_ link: Link) -> Bool {
    link.kind == "bridge"
      && (link.name == bridge || (link.name.hasPrefix(bridge + "-") && link.alias.hasPrefix(LinkAlias.bridge)))
  }
}

extension NetlinkSocket {
  /// All interfaces of the namespace with their counters.
  fileprivate func seenLinks() throws(NetworkError) -> [Int32: KernelLook.SeenLink] {
    try repeated { () throws(NetworkError) in
      var found: [Int32: KernelLook.SeenLink] = [:]
      let fixed = [UInt8](repeating: 0, count: MemoryLayout<ifinfomsg>.size)
      try query(type: UInt16(RTM_GETLINK), flags: NLM_F_DUMP, payload: fixed, object: "interfaces") { type, payload in
        guard type == UInt16(RTM_NEWLINK), let link = Link(payload) else { return }
        var seen = KernelLook.SeenLink(link: link)
        let flags = payload.loadUnaligned(as: ifinfomsg.self).ifi_flags
        seen.hasCarrier = flags & UInt32(IFF_RUNNING) != 0
        let attributes = Attributes(payload, after: MemoryLayout<ifinfomsg>.size)
        if let bytes = attributes.bytes(IFLA_STATS64) { seen.traffic = LinkTraffic(bytes) }
        found[link.index] = seen
      }
      return found
    }
  }
}

extension LinkTraffic {
  /// - Parameter bytes: struct rtnl_link_stats64: packets, bytes, errors, drops of both directions.
  fileprivate init(_ bytes: UnsafeRawBufferPointer) {
    func number(_ position: Int) -> UInt64 {
      bytes.count >= (position + 1) * 8 ? bytes.loadUnaligned(fromByteOffset: position * 8, as: UInt64.self) : 0
    }
    receivedPackets = number(0)
    sentPackets = number(1)
    receivedBytes = number(2)
    sentBytes = number(3)
    receivedDropped = number(6)
    sentDropped = number(7)
  }
}
