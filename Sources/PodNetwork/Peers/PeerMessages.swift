internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// Requests about routes to other nodes and the tunnel to them.
extension RouteMessage {
  /// The mark on our routes (`ip route … proto 84`): no others are changed.
  static let peerProtocol: UInt8 = 84

  /// - Parameter isNew: fail where any route for the destination exists, instead of replacing ours.
  static func peerRoute(_ route: PeerPlan.Route, isNew: Bool) -> OpaquePointer? {
    withRoute(route) { object in
      built { rtnl_route_build_add_request(object, NLM_F_CREATE | (isNew ? NLM_F_EXCL : NLM_F_REPLACE), $0) }
    }
  }

  static func removePeerRoute(_ route: PeerPlan.Route) -> OpaquePointer? {
    withRoute(route) { object in built { rtnl_route_build_del_request(object, 0, $0) } }
  }

  private static func withRoute(
    _ route: PeerPlan.Route, _ build: (OpaquePointer) -> OpaquePointer?
  ) -> OpaquePointer? {
    guard
      let object = rtnl_route_alloc(), let hop = rtnl_route_nh_alloc(),
      let via = nlAddress(route.gateway, prefix: nil),
      let destination = nlAddress(route.destination.base, prefix: route.destination.prefix)
    else { return nil }
    defer {
      nl_addr_put(via)
      nl_addr_put(destination)
      rtnl_route_put(object)
    }
    rtnl_route_set_family(object, UInt8(route.destination.family.number))
    rtnl_route_set_dst(object, destination)
    rtnl_route_set_table(object, UInt32(RT_TABLE_MAIN.rawValue))
    rtnl_route_set_scope(object, UInt8(RT_SCOPE_UNIVERSE.rawValue))
    rtnl_route_set_protocol(object, peerProtocol)
    rtnl_route_nh_set_ifindex(hop, route.interface)
    rtnl_route_nh_set_gateway(hop, via)
    // The other end of a tunnel is in no connected network; a node on our link was looked up before.
    rtnl_route_nh_set_flags(hop, UInt32(RTNH_F_ONLINK))
    rtnl_route_add_nexthop(object, hop)
    return build(object)
  }

  /// A tunnel that learns nothing: where frames go is written down, so that nobody can send a MAC elsewhere.
  static func createTunnel(_ tunnel: Tunnel, name: String, underlay: UnderlayLink, mac: MACAddress) -> OpaquePointer? {
    guard let link = rtnl_link_vxlan_alloc(), let local = nlAddress(tunnel.local, prefix: nil) else { return nil }
    defer {
      nl_addr_put(local)
      rtnl_link_put(link)
    }
    rtnl_link_set_name(link, name)
    rtnl_link_set_mtu(link, tunnel.mtu)
    rtnl_link_vxlan_set_id(link, tunnel.vni)
    rtnl_link_vxlan_set_port(link, UInt32(tunnel.port))
    rtnl_link_vxlan_set_link(link, UInt32(underlay.interface))
    rtnl_link_vxlan_set_local(link, local)
    rtnl_link_vxlan_set_learning(link, 0)
    rtnl_link_vxlan_set_udp_csum(link, tunnel.udpChecksum ? 1 : 0)
    // At creation, and never by the kernel's choice: a MAC that changes cuts us off from all peers.
    guard setAddress(link, mac) else { return nil }
    return built { rtnl_link_build_add_request(link, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, $0) }
  }

  /// The tunnel's own address: no route comes with it.
  static func tunnelAddress(_ index: Int32, _ address: IPAddress, remove: Bool = false) -> OpaquePointer? {
    var fixed = ifaddrmsg()
    fixed.ifa_family = UInt8(address.family.number)
    fixed.ifa_prefixlen = UInt8(address.family.width)
    fixed.ifa_index = UInt32(index)
    let flags = UInt32(IFA_F_NOPREFIXROUTE) | (address.family == .ipv6 ? UInt32(IFA_F_NODAD) : 0)
    return message(remove ? RTM_DELADDR : RTM_NEWADDR, remove ? 0 : NLM_F_CREATE | NLM_F_REPLACE, &fixed) { message in
      nla_put(message, Int32(IFA_LOCAL), Int32(address.bytes.count), address.bytes)
        | nla_put(message, Int32(IFA_ADDRESS), Int32(address.bytes.count), address.bytes)
        | nla_put_u32(message, Int32(IFA_FLAGS), flags)
    }
  }

  /// Where the tunnel sends frames for a MAC. By hand: libnl refuses an IP destination in a bridge entry.
  static func tunnelForward(_ index: Int32, _ forward: PeerPlan.Forward, remove: Bool = false) -> OpaquePointer? {
    var fixed = ndmsg()
    fixed.ndm_family = UInt8(AF_BRIDGE)
    fixed.ndm_ifindex = index
    fixed.ndm_state = UInt16(NUD_PERMANENT)
    fixed.ndm_flags = UInt8(NTF_SELF)
    let node = forward.node.bytes
    return message(
      remove ? RTM_DELNEIGH : RTM_NEWNEIGH, remove ? 0 : NLM_F_CREATE | NLM_F_REPLACE, &fixed
    ) { message in
      nla_put(message, Int32(NDA_LLADDR), 6, forward.mac.bytes)
        | nla_put(message, Int32(NDA_DST), Int32(node.count), node)
    }
  }

  private static func message<Fixed: BitwiseCopyable>(
    _ type: Int, _ flags: Int32, _ fixed: inout Fixed, _ attributes: (OpaquePointer) -> Int32
  ) -> OpaquePointer? {
    guard let message = nlmsg_alloc_simple(Int32(type), flags) else { return nil }
    guard nlmsg_append(message, &fixed, MemoryLayout<Fixed>.size, 4) == 0, attributes(message) == 0 else {
      nlmsg_free(message)
      return nil
    }
    return message
  }
}
