internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// A VXLAN interface's settings that we choose.
struct Tunnel: Sendable, Hashable {
  var vni: UInt32
  var port: UInt16
  var local: IPAddress
  var underlay: Int32
  var mtu: UInt32
  var udpChecksum: Bool
  var learns = false
}

/// What is read of the kernel about other nodes.
extension NetlinkSocket {
  /// - Returns: nil when there is no such interface; no tunnel when it is of another kind.
  func tunnel(named name: String) throws(NetworkError) -> (link: Link, tunnel: Tunnel?)? {
    guard let link = try link(named: name) else { return nil }
    var tunnel: Tunnel?
    var fixed = ifinfomsg()
    fixed.ifi_index = link.index
    let payload = withUnsafeBytes(of: &fixed) { Array($0) }
    try query(type: UInt16(RTM_GETLINK), flags: 0, payload: payload, object: name) { type, payload in
      guard type == UInt16(RTM_NEWLINK) else { return }
      let attributes = Attributes(payload, after: MemoryLayout<ifinfomsg>.size)
      guard
        let detail = attributes.nested(IFLA_LINKINFO), detail.string(IFLA_INFO_KIND) == "vxlan",
        let data = detail.nested(IFLA_INFO_DATA), let port = data.bytes(IFLA_VXLAN_PORT), port.count >= 2
      else { return }
      let local4 = data.bytes(IFLA_VXLAN_LOCAL).map { IPAddress(.ipv4, bytes: $0) }
      let local6 = data.bytes(IFLA_VXLAN_LOCAL6).map { IPAddress(.ipv6, bytes: $0) }
      tunnel = Tunnel(
        vni: data.uint32(IFLA_VXLAN_ID) ?? 0, port: UInt16(port[0]) << 8 | UInt16(port[1]),
        local: local4 ?? local6 ?? IPAddress(.ipv4, 0),
        underlay: Int32(bitPattern: data.uint32(IFLA_VXLAN_LINK) ?? 0), mtu: link.mtu,
        udpChecksum: data.uint8(IFLA_VXLAN_UDP_CSUM) == 1, learns: data.uint8(IFLA_VXLAN_LEARNING) == 1)
    }
    return (link, tunnel)
  }

  /// Our routes: main table, `proto 84`, one next hop.
  func peerRoutes(_ family: AddressFamily) throws(NetworkError) -> Set<PeerPlan.Route> {
    try repeated { () throws(NetworkError) in
      var found: Set<PeerPlan.Route> = []
      var fixed = rtmsg()
      fixed.rtm_family = UInt8(family.number)
      let bytes = withUnsafeBytes(of: &fixed) { Array($0) }
      try query(type: UInt16(RTM_GETROUTE), flags: NLM_F_DUMP, payload: bytes, object: "routes") { type, payload in
        guard type == UInt16(RTM_NEWROUTE), payload.count >= MemoryLayout<rtmsg>.size else { return }
        let fixed = payload.loadUnaligned(as: rtmsg.self)
        let attributes = Attributes(payload, after: MemoryLayout<rtmsg>.size)
        let table = attributes.uint32(Int(RTA_TABLE.rawValue)) ?? UInt32(fixed.rtm_table)
        guard
          table == UInt32(RT_TABLE_MAIN.rawValue), fixed.rtm_protocol == RouteMessage.peerProtocol,
          let base = attributes.bytes(Int(RTA_DST.rawValue)), let via = attributes.bytes(Int(RTA_GATEWAY.rawValue)),
          let interface = attributes.uint32(Int(RTA_OIF.rawValue))
        else { return }
        found.insert(
          PeerPlan.Route(
            destination: AddressBlock(IPAddress(family, bytes: base), prefix: Int(fixed.rtm_dst_len)),
            gateway: IPAddress(family, bytes: via), interface: Int32(bitPattern: interface)))
      }
      return found
    }
  }

  /// Fixed entries of a tunnel's forwarding table, but for the one that sends unknown frames somewhere.
  func tunnelForwards(_ index: Int32) throws(NetworkError) -> Set<PeerPlan.Forward> {
    try repeated { () throws(NetworkError) in
      var found: Set<PeerPlan.Forward> = []
      var fixed = ndmsg()
      fixed.ndm_family = UInt8(AF_BRIDGE)
      let bytes = withUnsafeBytes(of: &fixed) { Array($0) }
      try query(type: UInt16(RTM_GETNEIGH), flags: NLM_F_DUMP, payload: bytes, object: "neighbours") { type, payload in
        guard type == UInt16(RTM_NEWNEIGH), payload.count >= MemoryLayout<ndmsg>.size else { return }
        let fixed = payload.loadUnaligned(as: ndmsg.self)
        let attributes = Attributes(payload, after: MemoryLayout<ndmsg>.size)
        guard
          fixed.ndm_ifindex == index, let mac = attributes.bytes(Int(NDA_LLADDR)), mac.count == 6,
          let node = attributes.bytes(Int(NDA_DST))
        else { return }
        found.insert(
          PeerPlan.Forward(
            mac: MACAddress(bytes: mac), node: IPAddress(node.count == 4 ? .ipv4 : .ipv6, bytes: node)))
      }
      return found
    }
  }
}
