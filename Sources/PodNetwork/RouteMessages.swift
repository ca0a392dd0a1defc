internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// Requests of rtnetlink(7) as libnl messages; each is nil when memory ran out. Everything typed is libnl-route-3's; by
/// hand are only the attributes of bridge ports and of SLAAC modes that it has no names for.
enum RouteMessage {
  private static let createOrReplace = NLM_F_CREATE | NLM_F_REPLACE
  /// IFLA_INET6_ADDR_GEN_MODE: IN6_ADDR_GEN_MODE_NONE.
  private static let noAddress: UInt8 = 1

  // MARK: links

  /// A veth pair in one message: the host end in the bridge, the pod's end in its namespace. Neither is up: the kernel
  /// refuses a peer that is to be up before it is paired (ENOTCONN).
  static func vethPair(
    name: String, bridge: Int32, group: UInt32, mtu: UInt32, podNamespace: Int32, podMAC: MACAddress
  ) -> OpaquePointer? {
    guard let link = rtnl_link_veth_alloc(), let peer = rtnl_link_veth_get_peer(link) else { return nil }
    // Both are ours: get_peer counts its own reference.
    defer {
      rtnl_link_put(peer)
      rtnl_link_put(link)
    }
    rtnl_link_set_name(link, name)
    rtnl_link_set_mtu(link, mtu)
    rtnl_link_set_group(link, group)
    rtnl_link_set_master(link, bridge)
    rtnl_link_set_name(peer, PodInterface.name)
    rtnl_link_set_mtu(peer, mtu)
    rtnl_link_set_ns_fd(peer, podNamespace)
    guard setAddress(peer, podMAC) else { return nil }
    return built { rtnl_link_build_add_request(link, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, $0) }
  }

  static func createBridge(name: String, group: UInt32, mac: MACAddress, mtu: UInt32) -> OpaquePointer? {
    guard let link = rtnl_link_bridge_alloc() else { return nil }
    defer { rtnl_link_put(link) }
    rtnl_link_set_name(link, name)
    rtnl_link_set_group(link, group)
    rtnl_link_set_mtu(link, mtu)
    guard setAddress(link, mac) else { return nil }
    return built { rtnl_link_build_add_request(link, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, $0) }
  }

  /// Changes what is set here of an existing link.
  static func change(
    _ index: Int32, alias: String? = nil, mac: MACAddress? = nil, mtu: UInt32? = nil, group: UInt32? = nil,
    up: Bool? = nil
  ) -> OpaquePointer? {
    linkMessage(index, up: up) { message in
      if let alias { nla_put(message, Int32(IFLA_IFALIAS), Int32(alias.utf8.count), alias) } else { 0 }
    } and: { message in
      var failed: Int32 = 0
      if let mac { failed |= nla_put(message, Int32(IFLA_ADDRESS), 6, mac.bytes) }
      if let mtu { failed |= nla_put_u32(message, Int32(IFLA_MTU), mtu) }
      if let group { failed |= nla_put_u32(message, Int32(IFLA_GROUP), group) }
      return failed
    }
  }

  /// No IPv6 address of its own: `addrgenmode none`, and with it no router solicitation and no multicast chatter.
  /// Must come before the link is up.
  static func noLinkLocal(_ index: Int32, alias: String? = nil) -> OpaquePointer? {
    linkMessage(index) { message in
      var failed: Int32 = 0
      if let alias { failed |= nla_put(message, Int32(IFLA_IFALIAS), Int32(alias.utf8.count), alias) }
      return failed
        | nest(message, Int32(IFLA_AF_SPEC)) {
          nest(message, AF_INET6) { nla_put_u8(message, Int32(IFLA_INET6_ADDR_GEN_MODE), noAddress) }
        }
    }
  }

  /// A port that neither learns nor floods, lets in only the MAC of its static entry, and reaches no other port but
  /// through the bridge itself; and the link up.
  static func bridgePortUp(_ index: Int32, _ port: BridgePort) -> OpaquePointer? {
    linkMessage(index, up: true) { message in
      nest(message, Int32(IFLA_LINKINFO)) {
        nla_put_string(message, Int32(IFLA_INFO_SLAVE_KIND), "bridge")
          | nest(message, Int32(IFLA_INFO_SLAVE_DATA)) {
            var failed: Int32 = 0
            for (option, value) in port.options { failed |= nla_put_u8(message, Int32(option), value) }
            return failed
          }
      }
    }
  }

  /// A bridge that runs no protocol of its own: no spanning tree, no multicast groups that pods could fill.
  static func quietBridge(_ index: Int32) -> OpaquePointer? {
    linkMessage(index) { message in
      nest(message, Int32(IFLA_LINKINFO)) {
        nla_put_string(message, Int32(IFLA_INFO_KIND), "bridge")
          | nest(message, Int32(IFLA_INFO_DATA)) {
            nla_put_u32(message, Int32(IFLA_BR_STP_STATE), 0)
              | nla_put_u8(message, Int32(IFLA_BR_MCAST_SNOOPING), 0)
          }
      }
    }
  }

  /// Asks for a link; the answer does not matter. Since 6.8 the kernel takes note of a link's carrier before it answers
  /// (rtnl_getlink, linkwatch_sync_dev), which it else does later, dropping packets until then.
  static func takeNote(_ index: Int32) -> OpaquePointer? { linkMessage(index, type: RTM_GETLINK) { _ in 0 } }

  static func setMaster(_ index: Int32, bridge: Int32) -> OpaquePointer? {
    linkMessage(index) { nla_put_u32($0, Int32(IFLA_MASTER), UInt32(bridge)) }
  }

  /// Removes one link; waits for the kernel's grace periods (35 ms), so only for a bridge.
  static func delete(_ index: Int32) -> OpaquePointer? { linkMessage(index, type: RTM_DELLINK) { _ in 0 } }

  /// Removes all links of a group, in one grace period.
  static func deleteGroup(_ group: UInt32) -> OpaquePointer? {
    linkMessage(0, type: RTM_DELLINK) { nla_put_u32($0, Int32(IFLA_GROUP), group) }
  }

  // MARK: addresses, neighbours, routes

  static func address(
    _ index: Int32, _ address: IPAddress, prefix: Int, remove: Bool = false
  ) -> OpaquePointer? {
    guard let object = rtnl_addr_alloc(), let local = nlAddress(address, prefix: prefix) else { return nil }
    defer {
      nl_addr_put(local)
      rtnl_addr_put(object)
    }
    rtnl_addr_set_ifindex(object, index)
    rtnl_addr_set_local(object, local)
    if address.family == .ipv6 { rtnl_addr_set_flags(object, UInt32(IFA_F_NODAD)) }
    return built {
      remove ? rtnl_addr_build_delete_request(object, 0, $0) : rtnl_addr_build_add_request(object, createOrReplace, $0)
    }
  }

  /// A permanent neighbour: nobody asks, nobody's claim changes it.
  static func neighbour(_ index: Int32, _ address: IPAddress, _ mac: MACAddress?) -> OpaquePointer? {
    guard let object = rtnl_neigh_alloc(), let target = nlAddress(address, prefix: nil) else { return nil }
    defer {
      nl_addr_put(target)
      rtnl_neigh_put(object)
    }
    rtnl_neigh_set_ifindex(object, index)
    rtnl_neigh_set_family(object, address.family.number)
    rtnl_neigh_set_dst(object, target)
    rtnl_neigh_set_state(object, NUD_PERMANENT)
    guard let mac else { return built { rtnl_neigh_build_delete_request(object, 0, $0) } }
    guard let hardware = nlAddress(mac) else { return nil }
    defer { nl_addr_put(hardware) }
    rtnl_neigh_set_lladdr(object, hardware)
    return built { rtnl_neigh_build_add_request(object, createOrReplace, $0) }
  }

  /// The static forwarding entry of a locked port: with it the pod talks, without it it is cut off at once.
  static func forwarding(_ port: Int32, _ mac: MACAddress, remove: Bool = false) -> OpaquePointer? {
    guard let object = rtnl_neigh_alloc(), let hardware = nlAddress(mac) else { return nil }
    defer {
      nl_addr_put(hardware)
      rtnl_neigh_put(object)
    }
    rtnl_neigh_set_ifindex(object, port)
    rtnl_neigh_set_family(object, AF_BRIDGE)
    rtnl_neigh_set_lladdr(object, hardware)
    rtnl_neigh_set_flags(object, UInt32(NTF_MASTER))
    // To a bridge, NOARP is a static entry; PERMANENT would be an address of its own.
    rtnl_neigh_set_state(object, NUD_NOARP)
    return built {
      remove
        ? rtnl_neigh_build_delete_request(object, 0, $0) : rtnl_neigh_build_add_request(object, createOrReplace, $0)
    }
  }

  /// Route to one pod behind an overflow bridge.
  static func hostRoute(_ index: Int32, _ address: IPAddress, remove: Bool = false) -> OpaquePointer? {
    guard
      let route = rtnl_route_alloc(), let hop = rtnl_route_nh_alloc(), let target = nlAddress(address, prefix: nil)
    else { return nil }
    defer {
      nl_addr_put(target)
      rtnl_route_put(route)
    }
    rtnl_route_set_family(route, UInt8(address.family.number))
    rtnl_route_set_dst(route, target)
    rtnl_route_set_table(route, UInt32(RT_TABLE_MAIN.rawValue))
    rtnl_route_set_scope(route, UInt8(RT_SCOPE_LINK.rawValue))
    rtnl_route_set_protocol(route, UInt8(RTPROT_STATIC))
    rtnl_route_nh_set_ifindex(hop, index)
    rtnl_route_add_nexthop(route, hop)
    return built {
      remove ? rtnl_route_build_del_request(route, 0, $0) : rtnl_route_build_add_request(route, createOrReplace, $0)
    }
  }

  /// Route by a gateway that no connected route leads to.
  static func route(_ index: Int32, to block: AddressBlock, via gateway: IPAddress) -> OpaquePointer? {
    guard
      let route = rtnl_route_alloc(), let hop = rtnl_route_nh_alloc(), let via = nlAddress(gateway, prefix: nil),
      let destination = nlAddress(block.base, prefix: block.prefix)
    else { return nil }
    defer {
      nl_addr_put(via)
      nl_addr_put(destination)
      rtnl_route_put(route)
    }
    rtnl_route_set_family(route, UInt8(gateway.family.number))
    rtnl_route_set_dst(route, destination)
    rtnl_route_set_table(route, UInt32(RT_TABLE_MAIN.rawValue))
    rtnl_route_set_scope(route, UInt8(RT_SCOPE_UNIVERSE.rawValue))
    rtnl_route_set_protocol(route, UInt8(RTPROT_STATIC))
    rtnl_route_nh_set_ifindex(hop, index)
    rtnl_route_nh_set_gateway(hop, via)
    rtnl_route_nh_set_flags(hop, UInt32(RTNH_F_ONLINK))
    // The route owns the hop from here on.
    rtnl_route_add_nexthop(route, hop)
    return built { rtnl_route_build_add_request(route, NLM_F_CREATE | NLM_F_EXCL, $0) }
  }

  /// The route to the block that an interface's address belongs to, as the kernel itself makes it with the address.
  static func connectedRoute(_ index: Int32, _ block: AddressBlock, _ source: IPAddress) -> OpaquePointer? {
    guard
      let route = rtnl_route_alloc(), let hop = rtnl_route_nh_alloc(), let from = nlAddress(source, prefix: nil),
      let destination = nlAddress(block.base, prefix: block.prefix)
    else { return nil }
    defer {
      nl_addr_put(from)
      nl_addr_put(destination)
      rtnl_route_put(route)
    }
    rtnl_route_set_family(route, UInt8(block.family.number))
    rtnl_route_set_dst(route, destination)
    rtnl_route_set_table(route, UInt32(RT_TABLE_MAIN.rawValue))
    rtnl_route_set_scope(route, UInt8(block.family == .ipv4 ? RT_SCOPE_LINK.rawValue : RT_SCOPE_UNIVERSE.rawValue))
    rtnl_route_set_protocol(route, UInt8(RTPROT_KERNEL))
    if block.family == .ipv4 {
      rtnl_route_set_pref_src(route, from)
    } else {
      rtnl_route_set_priority(route, connectedPriority)
    }
    rtnl_route_nh_set_ifindex(hop, index)
    rtnl_route_add_nexthop(route, hop)
    return built { rtnl_route_build_add_request(route, NLM_F_CREATE | NLM_F_EXCL, $0) }
  }

  /// IP6_RT_PRIO_ADDRCONF of the kernel.
  private static let connectedPriority: UInt32 = 256

  // MARK: pieces

  static func built(_ make: (UnsafeMutablePointer<OpaquePointer?>) -> Int32) -> OpaquePointer? {
    var message: OpaquePointer?
    guard make(&message) >= 0 else { return nil }
    return message
  }

  private static func linkMessage(
    _ index: Int32, type: Int = RTM_NEWLINK, up: Bool? = nil, _ attributes: (OpaquePointer) -> Int32,
    and more: (OpaquePointer) -> Int32 = { _ in 0 }
  ) -> OpaquePointer? {
    guard let message = nlmsg_alloc_simple(Int32(type), 0) else { return nil }
    var fixed = ifinfomsg()
    fixed.ifi_index = index
    if let up {
      fixed.ifi_flags = up ? UInt32(IFF_UP) : 0
      fixed.ifi_change = UInt32(IFF_UP)
    }
    guard
      nlmsg_append(message, &fixed, MemoryLayout<ifinfomsg>.size, 4) == 0, attributes(message) == 0,
      more(message) == 0
    else {
      nlmsg_free(message)
      return nil
    }
    return message
  }

  private static func nest(_ message: OpaquePointer, _ type: Int32, _ body: () -> Int32) -> Int32 {
    guard let start = nla_nest_start(message, type) else { return -1 }
    let failed = body()
    return failed == 0 ? nla_nest_end(message, start) : failed
  }

  static func setAddress(_ link: OpaquePointer, _ mac: MACAddress) -> Bool {
    guard let address = nlAddress(mac) else { return false }
    rtnl_link_set_addr(link, address)
    nl_addr_put(address)
    return true
  }

  static func nlAddress(_ mac: MACAddress) -> OpaquePointer? { nl_addr_build(AF_LLC, mac.bytes, 6) }

  static func nlAddress(_ address: IPAddress, prefix: Int?) -> OpaquePointer? {
    let bytes = prefix == 0 ? [] : address.bytes
    guard let built = nl_addr_build(address.family.number, bytes, bytes.count) else { return nil }
    nl_addr_set_prefixlen(built, Int32(prefix ?? address.family.width))
    return built
  }
}

/// The pod's end of the pair; the same in every pod, so that all of a pod's inside is one message batch.
enum PodInterface {
  static let name = "eth0"
  /// The loopback is 1.
  static let loopback: Int32 = 1
  /// What the kernel gives the first that is made in a namespace; a refused one before it has used up the number.
  static let index: Int32 = 2
}

/// The host end of a pod's pair, and where it is.
struct PodLink: Sendable, Equatable {
  /// Interface index.
  var index: Int32
  /// 0: the bridge; n: its n-th overflow bridge.
  var bridge: Int
  /// Interface index of the pod's end, in its namespace.
  var inside = PodInterface.index
}

/// How a pod's port of the bridge is set (NETWORK.md D3): no MAC or ARP takeover can succeed.
struct BridgePort: Sendable, Equatable {
  /// With br_netfilter in the path the bridge itself translates and hands frames from port to port, so that ports must
  /// not be isolated and a pod must be able to reach itself (NETWORK.md D6).
  var isFiltered = false
  /// Pods are to find each other without the bridge's address (`addressing = "switched"`): ports are not isolated, and
  /// let broadcasts and multicasts out. What those may claim is for the anti-spoof rules.
  var isSwitched = false

  var options: [(option: Int, value: UInt8)] {
    let floods: UInt8 = isSwitched ? 1 : 0
    return [
      (IFLA_BRPORT_LEARNING, 0), (IFLA_BRPORT_LOCKED, 1), (IFLA_BRPORT_UNICAST_FLOOD, 0),
      (IFLA_BRPORT_MCAST_FLOOD, floods), (IFLA_BRPORT_BCAST_FLOOD, floods),
      (IFLA_BRPORT_ISOLATED, isFiltered || isSwitched ? 0 : 1), (IFLA_BRPORT_MODE, isFiltered ? 1 : 0),
    ]
  }
}
