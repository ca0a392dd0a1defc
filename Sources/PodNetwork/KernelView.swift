internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// One network interface as the kernel shows it.
struct Link: Sendable, Equatable {
  var index: Int32
  var name = ""
  var alias = ""
  /// Of `IFLA_INFO_KIND`: bridge, veth; empty for hardware.
  var kind = ""
  var group: UInt32 = 0
  /// Interface index of the bridge; 0: in none.
  var master: Int32 = 0
  /// Interface index of a veth's other end, in its namespace; 0: none.
  var peer: Int32 = 0
  var mtu: UInt32 = 0
  var mac: [UInt8] = []
  var isUp = false
  /// Has a carrier, and the kernel has taken note of it.
  var isRunning = false
  /// Of a bridge port: IFLA_BRPORT_* options that are one byte.
  var portOptions: [Int: UInt8] = [:]

  /// - Parameter payload: of RTM_NEWLINK or RTM_DELLINK.
  /// - Returns: nil when it is not about the interface itself but its place in a bridge (AF_BRIDGE).
  init?(_ payload: UnsafeRawBufferPointer) {
    guard payload.count >= MemoryLayout<ifinfomsg>.size else { return nil }
    let fixed = payload.loadUnaligned(as: ifinfomsg.self)
    guard fixed.ifi_family == UInt8(AF_UNSPEC) else { return nil }
    index = fixed.ifi_index
    isUp = fixed.ifi_flags & UInt32(IFF_UP) != 0
    isRunning = fixed.ifi_flags & UInt32(IFF_RUNNING) != 0
    let attributes = Attributes(payload, after: MemoryLayout<ifinfomsg>.size)
    name = attributes.string(IFLA_IFNAME) ?? ""
    alias = attributes.string(IFLA_IFALIAS) ?? ""
    group = attributes.uint32(IFLA_GROUP) ?? 0
    master = Int32(bitPattern: attributes.uint32(IFLA_MASTER) ?? 0)
    peer = Int32(bitPattern: attributes.uint32(IFLA_LINK) ?? 0)
    mtu = attributes.uint32(IFLA_MTU) ?? 0
    mac = attributes.bytes(IFLA_ADDRESS).map(Array.init) ?? []
    if let detail = attributes.nested(IFLA_LINKINFO) {
      kind = detail.string(IFLA_INFO_KIND) ?? ""
      if let port = detail.nested(IFLA_INFO_SLAVE_DATA) {
        for (option, _) in BridgePort().options { portOptions[option] = port.uint8(option) }
      }
    }
  }
}

extension Link {
  func isPort(like port: BridgePort) -> Bool { port.options.allSatisfy { portOptions[$0.option] == $0.value } }
}

/// What is read of the kernel's tables. Reading takes the same lock as writing, but changes nothing.
extension NetlinkSocket {
  /// - Returns: nil when there is no such interface.
  func link(named name: String) throws(NetworkError) -> Link? {
    var bytes = [UInt8](repeating: 0, count: MemoryLayout<ifinfomsg>.size)
    bytes += attribute(UInt16(IFLA_IFNAME), Array(name.utf8) + [0])
    return try oneLink(bytes, name)
  }

  func link(index: Int32) throws(NetworkError) -> Link? {
    var fixed = ifinfomsg()
    fixed.ifi_index = index
    return try oneLink(withUnsafeBytes(of: &fixed) { Array($0) }, "interface \(index)")
  }

  func links() throws(NetworkError) -> [Link] {
    try repeated { () throws(NetworkError) in
      var links: [Link] = []
      let fixed = [UInt8](repeating: 0, count: MemoryLayout<ifinfomsg>.size)
      try query(type: UInt16(RTM_GETLINK), flags: NLM_F_DUMP, payload: fixed, object: "interfaces") { type, payload in
        if type == UInt16(RTM_NEWLINK), let link = Link(payload) { links.append(link) }
      }
      return links
    }
  }

  /// Addresses of one interface with their prefixes.
  func addresses(of index: Int32) throws(NetworkError) -> Set<InterfaceAddress> {
    try repeated { () throws(NetworkError) in
      var found: Set<InterfaceAddress> = []
      var fixed = ifaddrmsg()
      fixed.ifa_index = UInt32(index)
      let bytes = withUnsafeBytes(of: &fixed) { Array($0) }
      try query(type: UInt16(RTM_GETADDR), flags: NLM_F_DUMP, payload: bytes, object: "addresses") { type, payload in
        guard type == UInt16(RTM_NEWADDR), let (interface, address) = InterfaceAddress.read(payload) else { return }
        if interface == index { found.insert(address) }
      }
      return found
    }
  }

  /// Every address that the node has.
  func addresses() throws(NetworkError) -> Set<IPAddress> {
    try repeated { () throws(NetworkError) in
      var found: Set<IPAddress> = []
      let fixed = [UInt8](repeating: 0, count: MemoryLayout<ifaddrmsg>.size)
      try query(type: UInt16(RTM_GETADDR), flags: NLM_F_DUMP, payload: fixed, object: "addresses") { type, payload in
        guard type == UInt16(RTM_NEWADDR), payload.count >= MemoryLayout<ifaddrmsg>.size else { return }
        let attributes = Attributes(payload, after: MemoryLayout<ifaddrmsg>.size)
        guard
          let family = AddressFamily(number: Int32(payload.loadUnaligned(as: ifaddrmsg.self).ifa_family)),
          let bytes = attributes.bytes(IFA_LOCAL) ?? attributes.bytes(IFA_ADDRESS)
        else { return }
        found.insert(IPAddress(family, bytes: bytes))
      }
      return found
    }
  }

  /// Unicast routes of the main table.
  func routes(_ family: AddressFamily) throws(NetworkError) -> [Route] {
    try repeated { () throws(NetworkError) in
      var found: [Route] = []
      var fixed = rtmsg()
      fixed.rtm_family = UInt8(family.number)
      let bytes = withUnsafeBytes(of: &fixed) { Array($0) }
      try query(type: UInt16(RTM_GETROUTE), flags: NLM_F_DUMP, payload: bytes, object: "routes") { type, payload in
        if type == UInt16(RTM_NEWROUTE), let (route, _) = Route.read(payload) { found.append(route) }
      }
      return found
    }
  }

  /// Neighbours (or, for AF_BRIDGE, forwarding entries) as `interface, address or nothing, MAC`; only fixed ones.
  func fixedNeighbours(family: Int32) throws(NetworkError) -> Set<Neighbour> {
    try repeated { () throws(NetworkError) in
      var found: Set<Neighbour> = []
      var fixed = ndmsg()
      fixed.ndm_family = UInt8(family)
      let bytes = withUnsafeBytes(of: &fixed) { Array($0) }
      try query(type: UInt16(RTM_GETNEIGH), flags: NLM_F_DUMP, payload: bytes, object: "neighbours") { type, payload in
        guard type == UInt16(RTM_NEWNEIGH), payload.count >= MemoryLayout<ndmsg>.size else { return }
        let fixed = payload.loadUnaligned(as: ndmsg.self)
        let attributes = Attributes(payload, after: MemoryLayout<ndmsg>.size)
        let isFixed = Int32(fixed.ndm_state) & (NUD_PERMANENT | NUD_NOARP) != 0
        guard isFixed, let mac = attributes.bytes(Int(NDA_LLADDR)), mac.count == 6 else { return }
        let family = AddressFamily(number: Int32(fixed.ndm_family))
        let address = family.flatMap { family in
          attributes.bytes(Int(NDA_DST)).map { IPAddress(family, bytes: $0) }
        }
        found.insert(Neighbour(interface: fixed.ndm_ifindex, address: address, mac: MACAddress(bytes: mac)))
      }
      return found
    }
  }

  private func oneLink(_ payload: [UInt8], _ object: String) throws(NetworkError) -> Link? {
    var found: Link?
    do throws(NetworkError) {
      try query(type: UInt16(RTM_GETLINK), flags: 0, payload: payload, object: object) { type, payload in
        if type == UInt16(RTM_NEWLINK) { found = Link(payload) }
      }
    } catch .kernel(_, ENODEV, _, _) {
      return nil
    }
    return found
  }

  /// A dump that the kernel marks as torn (NLM_F_DUMP_INTR) is read again.
  func repeated<Value>(_ body: () throws(NetworkError) -> Value) throws(NetworkError) -> Value {
    for _ in 0..<20 {
      do throws(NetworkError) {
        return try body()
      } catch .kernel("read", EINTR, _, _) {
        continue
      }
    }
    return try body()
  }

  func attribute(_ type: UInt16, _ value: [UInt8]) -> [UInt8] {
    let length = UInt16(4 + value.count)
    let padding = [UInt8](repeating: 0, count: -value.count & 3)
    return withUnsafeBytes(of: (length, type)) { Array($0) } + value + padding
  }
}

struct InterfaceAddress: Sendable, Hashable {
  var address: IPAddress
  var prefix: Int

  /// - Parameter payload: of RTM_NEWADDR or RTM_DELADDR.
  static func read(_ payload: UnsafeRawBufferPointer) -> (interface: Int32, InterfaceAddress)? {
    guard payload.count >= MemoryLayout<ifaddrmsg>.size else { return nil }
    let fixed = payload.loadUnaligned(as: ifaddrmsg.self)
    let attributes = Attributes(payload, after: MemoryLayout<ifaddrmsg>.size)
    guard
      let family = AddressFamily(number: Int32(fixed.ifa_family)),
      let bytes = attributes.bytes(IFA_LOCAL) ?? attributes.bytes(IFA_ADDRESS), bytes.count == family.width / 8
    else { return nil }
    return (
      Int32(bitPattern: fixed.ifa_index),
      InterfaceAddress(address: IPAddress(family, bytes: bytes), prefix: Int(fixed.ifa_prefixlen))
    )
  }
}

struct Route: Sendable, Hashable {
  var destination: AddressBlock
  /// 0 for a route over several hops.
  var interface: Int32
  var metric: UInt32
  /// One of ours to another node's pods.
  var isPeers = false

  /// - Parameter payload: of RTM_NEWROUTE or RTM_DELROUTE.
  /// - Returns: nil for what is no unicast route of the main table; else also who made it (rtm_protocol).
  static func read(_ payload: UnsafeRawBufferPointer) -> (Route, protocol: UInt8)? {
    guard payload.count >= MemoryLayout<rtmsg>.size else { return nil }
    let fixed = payload.loadUnaligned(as: rtmsg.self)
    let attributes = Attributes(payload, after: MemoryLayout<rtmsg>.size)
    let table = attributes.uint32(Int(RTA_TABLE.rawValue)) ?? UInt32(fixed.rtm_table)
    guard
      table == UInt32(RT_TABLE_MAIN.rawValue), Int(fixed.rtm_type) == Int(RTN_UNICAST),
      let family = AddressFamily(number: Int32(fixed.rtm_family)), Int(fixed.rtm_dst_len) <= family.width
    else { return nil }
    let base = attributes.bytes(Int(RTA_DST.rawValue)).map { IPAddress(family, bytes: $0.prefix(family.width / 8)) }
    let route = Route(
      destination: AddressBlock(base ?? IPAddress(family, 0), prefix: Int(fixed.rtm_dst_len)),
      interface: Int32(bitPattern: attributes.uint32(Int(RTA_OIF.rawValue)) ?? 0),
      metric: attributes.uint32(Int(RTA_PRIORITY.rawValue)) ?? 0,
      isPeers: fixed.rtm_protocol == RouteMessage.peerProtocol)
    return (route, fixed.rtm_protocol)
  }
}

struct Neighbour: Sendable, Hashable {
  var interface: Int32
  /// nil for a forwarding entry of a bridge.
  var address: IPAddress?
  var mac: MACAddress
}

extension AddressFamily {
  init?(number: Int32) {
    switch number {
    case AF_INET: self = .ipv4
    case AF_INET6: self = .ipv6
    default: return nil
    }
  }
}
