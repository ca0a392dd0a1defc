internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// One thing that the kernel says has changed (rtnetlink(7) multicast).
enum KernelChange: Sendable, Equatable {
  case link(Link, isGone: Bool)
  /// A link's place in a bridge: its options as far as `BridgePort` knows them. Gone: it left the bridge.
  case port(index: Int32, options: [Int: UInt8], isGone: Bool)
  case address(interface: Int32, InterfaceAddress, isGone: Bool)
  /// A neighbour, or without an address a forwarding entry of a bridge port.
  case neighbour(interface: Int32, address: IPAddress?, mac: MACAddress?, isFixed: Bool, isGone: Bool)
  /// A unicast route of the main table. Interface 0: over several hops.
  case route(destination: AddressBlock, interface: Int32, protocol: UInt8, isGone: Bool)

  /// - Returns: nil for what is none of these.
  init?(_ type: UInt16, _ payload: UnsafeRawBufferPointer) {
    switch Int(type) {
    case RTM_NEWLINK, RTM_DELLINK: self.init(link: payload, isGone: Int(type) == RTM_DELLINK)
    case RTM_NEWADDR, RTM_DELADDR: self.init(address: payload, isGone: Int(type) == RTM_DELADDR)
    case RTM_NEWNEIGH, RTM_DELNEIGH: self.init(neighbour: payload, isGone: Int(type) == RTM_DELNEIGH)
    case RTM_NEWROUTE, RTM_DELROUTE: self.init(route: payload, isGone: Int(type) == RTM_DELROUTE)
    default: return nil
    }
  }

  private init?(link payload: UnsafeRawBufferPointer, isGone: Bool) {
    if let link = Link(payload) {
      self = .link(link, isGone: isGone)
      return
    }
    guard payload.count >= MemoryLayout<ifinfomsg>.size else { return nil }
    let fixed = payload.loadUnaligned(as: ifinfomsg.self)
    guard fixed.ifi_family == UInt8(AF_BRIDGE) else { return nil }
    var options: [Int: UInt8] = [:]
    if let port = Attributes(payload, after: MemoryLayout<ifinfomsg>.size).nested(IFLA_PROTINFO) {
      for (option, _) in BridgePort().options { options[option] = port.uint8(option) }
    }
    self = .port(index: fixed.ifi_index, options: options, isGone: isGone)
  }

  private init?(address payload: UnsafeRawBufferPointer, isGone: Bool) {
    guard let (interface, address) = InterfaceAddress.read(payload) else { return nil }
    self = .address(interface: interface, address, isGone: isGone)
  }

  private init?(neighbour payload: UnsafeRawBufferPointer, isGone: Bool) {
    guard payload.count >= MemoryLayout<ndmsg>.size else { return nil }
    let fixed = payload.loadUnaligned(as: ndmsg.self)
    let attributes = Attributes(payload, after: MemoryLayout<ndmsg>.size)
    let mac = attributes.bytes(Int(NDA_LLADDR)).flatMap { $0.count == 6 ? MACAddress(bytes: $0) : nil }
    let family = AddressFamily(number: Int32(fixed.ndm_family))
    let address = family.flatMap { family in
      attributes.bytes(Int(NDA_DST)).map { IPAddress(family, bytes: $0) }
    }
    guard address != nil || Int32(fixed.ndm_family) == AF_BRIDGE else { return nil }
    self = .neighbour(
      interface: fixed.ndm_ifindex, address: address, mac: mac,
      isFixed: Int32(fixed.ndm_state) & (NUD_PERMANENT | NUD_NOARP) != 0, isGone: isGone)
  }

  private init?(route payload: UnsafeRawBufferPointer, isGone: Bool) {
    guard let (route, `protocol`) = Route.read(payload) else { return nil }
    self = .route(
      destination: route.destination, interface: route.interface, protocol: `protocol`, isGone: isGone)
  }
}
