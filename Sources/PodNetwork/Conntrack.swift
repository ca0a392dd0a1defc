internal import CNetlink
internal import Glibc
internal import RuntimeModel

/// One tracked connection, as far as host ports need it.
struct Flow: Sendable, Equatable {
  var transport: HostPort.TransportProtocol
  /// Where the client sends to.
  var destination: IPAddress
  var destinationPort: UInt16
  /// Who answers: the destination, or the pod it was translated to.
  var answeringAddress: IPAddress
  var answeringPort: UInt16
}

extension NetlinkSocket {
  /// Deletes tracked connections (NETLINK_NETFILTER, linux/netfilter/nfnetlink_conntrack.h). The kernel walks its whole
  /// hash table, which takes tens of milliseconds however few they are.
  /// - Parameter port: the kernel hands over only what goes to it, so that a large table costs no copy; nil: everything.
  /// - Returns: how many were deleted.
  func forgetConnections(
    _ family: AddressFamily, to port: (HostPort.TransportProtocol, UInt16)?, where matches: (Flow) -> Bool
  ) throws(NetworkError) -> Int {
    let subsystem = UInt16(NFNL_SUBSYS_CTNETLINK) << 8
    let request = Flow.request(family, port)
    let found = try repeated { () throws(NetworkError) in
      var found: [[UInt8]] = []
      try query(
        type: subsystem | UInt16(IPCTNL_MSG_CT_GET.rawValue), flags: NLM_F_DUMP, payload: request.bytes,
        object: "connections"
      ) { _, payload in
        guard payload.count > 4, let flow = Flow(payload), matches(flow) else { return }
        guard let tuple = Attributes(payload, after: 4).bytes(Int(CTA_TUPLE_ORIG.rawValue)) else { return }
        // The same tuple names it again, and its id tells it from a successor with the same tuple.
        let type = UInt16(CTA_TUPLE_ORIG.rawValue) | 0x8000
        let head = withUnsafeBytes(of: (UInt16(tuple.count + 4), type)) { Array($0) }
        var name: [UInt8] = [payload[0], 0, 0, 0] + head + Array(tuple)
        if let id = Attributes(payload, after: 4).bytes(Int(CTA_ID.rawValue)) {
          name += withUnsafeBytes(of: (UInt16(id.count + 4), UInt16(CTA_ID.rawValue))) { Array($0) } + Array(id)
        }
        found.append(name)
      }
      return found
    }
    for payload in found {
      do throws(NetworkError) {
        try query(
          type: subsystem | UInt16(IPCTNL_MSG_CT_DELETE.rawValue), flags: 0, payload: payload, object: "connection"
        ) { _, _ in }
      } catch .kernel(_, ENOENT, _, _) {
        continue  // It ended by itself.
      }
    }
    return found.count
  }
}

extension Flow {
  fileprivate static func request(
    _ family: AddressFamily, _ port: (transport: HostPort.TransportProtocol, number: UInt16)?
  ) -> NetfilterMessage {
    var request = NetfilterMessage(family: UInt8(family.number))
    guard let port else { return request }
    request.nest(UInt32(CTA_TUPLE_ORIG.rawValue)) { tuple in
      tuple.nest(UInt32(CTA_TUPLE_PROTO.rawValue)) { proto in
        proto.add(UInt32(CTA_PROTO_NUM.rawValue), [port.transport.number])
        proto.add(UInt32(CTA_PROTO_DST_PORT.rawValue), [UInt8(port.number >> 8), UInt8(port.number & 0xff)])
      }
    }
    request.nest(UInt32(CTA_FILTER.rawValue)) { filter in
      // CTA_FILTER_FLAG(CTA_PROTO_NUM) and (CTA_PROTO_DST_PORT) of the kernel's nf_internals.h, in host order.
      filter.add(UInt32(CTA_FILTER_ORIG_FLAGS.rawValue), withUnsafeBytes(of: UInt32(1 << 3 | 1 << 5)) { Array($0) })
    }
    return request
  }

  /// - Parameter payload: of IPCTNL_MSG_CT_NEW.
  fileprivate init?(_ payload: UnsafeRawBufferPointer) {
    let attributes = Attributes(payload, after: 4)
    guard
      let original = attributes.nested(Int(CTA_TUPLE_ORIG.rawValue)),
      let reply = attributes.nested(Int(CTA_TUPLE_REPLY.rawValue)),
      let (destination, number, port) = Self.end(original, .destination),
      let (answering, _, answeringPort) = Self.end(reply, .source),
      let transport = HostPort.TransportProtocol(number: number)
    else { return nil }
    self.init(
      transport: transport, destination: destination, destinationPort: port, answeringAddress: answering,
      answeringPort: answeringPort)
  }

  private enum End { case source, destination }

  private static func end(_ tuple: Attributes, _ end: End) -> (IPAddress, number: UInt8, port: UInt16)? {
    let isSource = end == .source
    let four = isSource ? CTA_IP_V4_SRC : CTA_IP_V4_DST
    let six = isSource ? CTA_IP_V6_SRC : CTA_IP_V6_DST
    guard
      let ip = tuple.nested(Int(CTA_TUPLE_IP.rawValue)), let proto = tuple.nested(Int(CTA_TUPLE_PROTO.rawValue)),
      let number = proto.uint8(Int(CTA_PROTO_NUM.rawValue)),
      let port = proto.bytes(Int((isSource ? CTA_PROTO_SRC_PORT : CTA_PROTO_DST_PORT).rawValue)), port.count >= 2
    else { return nil }
    let address =
      ip.bytes(Int(four.rawValue)).map { IPAddress(.ipv4, bytes: $0) }
      ?? ip.bytes(Int(six.rawValue)).map { IPAddress(.ipv6, bytes: $0) }
    return address.map { ($0, number, UInt16(port[0]) << 8 | UInt16(port[1])) }
  }
}

extension HostPort.TransportProtocol {
  /// IPPROTO_….
  var number: UInt8 {
    switch self {
    case .tcp: UInt8(IPPROTO_TCP)
    case .udp: UInt8(IPPROTO_UDP)
    case .sctp: UInt8(IPPROTO_SCTP)
    }
  }

  init?(number: UInt8) {
    switch Int(number) {
    case Int(IPPROTO_TCP): self = .tcp
    case Int(IPPROTO_UDP): self = .udp
    case Int(IPPROTO_SCTP): self = .sctp
    default: return nil
    }
  }
}
