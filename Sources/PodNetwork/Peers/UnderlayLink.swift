internal import CNetlink
internal import Glibc
package import RuntimeModel

/// The interface by which this node reaches the others.
struct UnderlayLink: Sendable, Hashable {
  var interface: Int32
  var name: String
  var mtu: UInt32
  var address4: IPAddress?
  var address6: IPAddress?

  /// - Parameter choice: an interface or one of its addresses; nil: the interface of the default route.
  /// - Throws: `configuration` naming `underlay`.
  static func find(_ choice: String?, _ routes: NetlinkSocket) throws(NetworkError) -> UnderlayLink {
    let key = "underlay"
    let wanted = choice.flatMap { IPAddress($0) }
    let link: Link?
    if let wanted {
      guard let index = try routes.interface(holding: wanted) else {
        throw .configuration(key: key, reason: "no interface has the address \(wanted)")
      }
      link = try routes.link(index: index)
    } else if let choice {
      link = try routes.link(named: choice)
    } else {
      link = try routes.linkOfDefaultRoute()
    }
    guard let link else {
      let reason = choice.map { "there is no interface \"\($0)\"" } ?? "there is no default route: name the interface"
      throw .configuration(key: key, reason: reason)
    }
    var underlay = UnderlayLink(interface: link.index, name: link.name, mtu: link.mtu)
    for address in try routes.nodeAddresses(of: link.index) {
      switch address.family {
      case .ipv4: underlay.address4 = underlay.address4 ?? address
      case .ipv6: underlay.address6 = underlay.address6 ?? address
      }
    }
    switch wanted?.family {
    case .ipv4: underlay.address4 = wanted
    case .ipv6: underlay.address6 = wanted
    case nil: break
    }
    guard underlay.address4 != nil || underlay.address6 != nil else {
      throw .configuration(key: key, reason: "interface \(link.name) has no address that other nodes could use")
    }
    return underlay
  }

  func address(_ family: AddressFamily) -> IPAddress? { family == .ipv4 ? address4 : address6 }

  /// Outer addresses of the tunnel are of this family.
  var tunnelFamily: AddressFamily { address4 == nil ? .ipv6 : .ipv4 }

  /// The largest packet that the tunnel carries whole.
  var tunnelMTU: UInt32 { mtu - min(mtu, NetworkConfiguration.Backend.vxlan.overhead(tunnelFamily)) }
}

/// - Parameter link: nil with no backend.
/// - Throws: `configuration` naming `mtu` when what is asked for, or what IPv6 needs, does not fit into the tunnel.
func podMTU(
  _ configuration: NetworkConfiguration, _ link: UnderlayLink?, _ routes: NetlinkSocket
) throws(NetworkError) -> UInt32 {
  guard let link else { return try Underlay(routes).podMTU(configuration) }
  // With `auto` the nodes may all be on one link.
  if configuration.backend == .vxlan, let asked = configuration.mtu, UInt32(asked) > link.tunnelMTU {
    throw .configuration(
      key: "mtu", reason: "\(asked) does not fit into the tunnel over \(link.name): at most \(link.tunnelMTU)")
  }
  return try Underlay(mtu: min(link.mtu, 65535), family: link.tunnelFamily).podMTU(configuration)
}

extension PodNetwork {
  /// What a node tells the others about itself, without anything being opened: who asks for pod blocks must say who it
  /// is.
  /// - Parameter blocks: its pod blocks; empty as long as they are not known.
  /// - Throws: `configuration` naming `underlay` or `mtu`.
  package static func nodeRecord(
    _ configuration: NetworkConfiguration, named name: String, blocks: [String]
  ) throws(NetworkError) -> NodeRecord {
    let routes = try NetlinkSocket(family: NETLINK_ROUTE)
    let underlay = try UnderlayLink.find(configuration.underlay, routes)
    let tunnel = configuration.vxlan
    return NodeRecord(
      name: name, podCIDRs: blocks, address4: underlay.address4?.description,
      address6: underlay.address6?.description, backend: configuration.backend.rawValue,
      vtepMAC: MACAddress(tunnelEndOf: blocks.compactMap { AddressBlock($0) })?.description, vni: Int(tunnel.vni),
      port: Int(tunnel.port), mtu: Int(try podMTU(configuration, underlay, routes)))
  }

  /// The node's pod blocks.
  package var blocks: [String] { plan.podBlocks.map(\.description) }
}

extension NetlinkSocket {
  /// Where the kernel would send a packet for `address` now.
  /// - Returns: the interface, and the next hop where it is not `address` itself; nil: unreachable.
  func nextHop(to address: IPAddress) -> (interface: Int32, gateway: Bool)? {
    var fixed = rtmsg()
    fixed.rtm_family = UInt8(address.family.number)
    fixed.rtm_dst_len = UInt8(address.family.width)
    let payload = withUnsafeBytes(of: &fixed) { Array($0) } + attribute(UInt16(RTA_DST.rawValue), address.bytes)
    var found: (Int32, Bool)?
    do throws(NetworkError) {
      try query(
        type: UInt16(RTM_GETROUTE), flags: 0, payload: payload, object: "route to \(address)"
      ) { type, payload in
        guard type == UInt16(RTM_NEWROUTE), payload.count >= MemoryLayout<rtmsg>.size else { return }
        let fixed = payload.loadUnaligned(as: rtmsg.self)
        let attributes = Attributes(payload, after: MemoryLayout<rtmsg>.size)
        guard Int(fixed.rtm_type) == Int(RTN_UNICAST), let interface = attributes.uint32(Int(RTA_OIF.rawValue))
        else { return }
        let hasGateway = [RTA_GATEWAY, RTA_VIA].contains { attributes.bytes(Int($0.rawValue)) != nil }
        found = (Int32(bitPattern: interface), hasGateway)
      }
    } catch {
      return nil
    }
    return found
  }

  fileprivate func linkOfDefaultRoute() throws(NetworkError) -> Link? {
    for family in AddressFamily.allCases {
      let ways = try routes(family).filter { $0.destination.prefix == 0 && $0.interface != 0 }
      if let way = ways.min(by: { $0.metric < $1.metric }) { return try link(index: way.interface) }
    }
    return nil
  }

  fileprivate func interface(holding address: IPAddress) throws(NetworkError) -> Int32? {
    for link in try links() where try addresses(of: link.index).contains(where: { $0.address == address }) {
      return link.index
    }
    return nil
  }

  /// Addresses that other nodes can use, in the kernel's order: global, neither secondary nor temporary.
  fileprivate func nodeAddresses(of index: Int32) throws(NetworkError) -> [IPAddress] {
    try repeated { () throws(NetworkError) in
      var found: [IPAddress] = []
      var fixed = ifaddrmsg()
      fixed.ifa_index = UInt32(index)
      let bytes = withUnsafeBytes(of: &fixed) { Array($0) }
      try query(type: UInt16(RTM_GETADDR), flags: NLM_F_DUMP, payload: bytes, object: "addresses") { type, payload in
        guard type == UInt16(RTM_NEWADDR), payload.count >= MemoryLayout<ifaddrmsg>.size else { return }
        let fixed = payload.loadUnaligned(as: ifaddrmsg.self)
        let attributes = Attributes(payload, after: MemoryLayout<ifaddrmsg>.size)
        let flags = attributes.uint32(IFA_FLAGS) ?? UInt32(fixed.ifa_flags)
        guard
          fixed.ifa_index == UInt32(index), let family = AddressFamily(number: Int32(fixed.ifa_family)),
          flags & UInt32(IFA_F_SECONDARY | IFA_F_DEPRECATED) == 0,
          let bytes = attributes.bytes(IFA_LOCAL) ?? attributes.bytes(IFA_ADDRESS)
        else { return }
        let address = IPAddress(family, bytes: bytes)
        if !address.isSpecial { found.append(address) }
      }
      return found
    }
  }
}
