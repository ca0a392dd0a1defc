internal import CNetlink
internal import Glibc

/// The original direction of one tracked connection, as far as host ports need it.
struct Flow: Sendable, Equatable {
  var transport: HostPort.TransportProtocol
  var destinationPort: UInt16
}

extension NetlinkSocket {
  /// Deletes tracked connections (NETLINK_NETFILTER, linux/netfilter/nfnetlink_conntrack.h). Reads the whole table: for
  /// datagram ports only.
  /// - Returns: how many were deleted.
  func forgetConnections(where matches: (Flow) -> Bool) throws(NetworkError) -> Int {
    let subsystem = UInt16(NFNL_SUBSYS_CTNETLINK) << 8
    let found = try repeated { () throws(NetworkError) in
      var found: [[UInt8]] = []
      try query(
        type: subsystem | UInt16(IPCTNL_MSG_CT_GET.rawValue), flags: NLM_F_DUMP, payload: [0, 0, 0, 0],
        object: "connections"
      ) { _, payload in
        guard payload.count > 4 else { return }
        let attributes = Attributes(payload, after: 4)
        guard
          let tuple = attributes.bytes(Int(CTA_TUPLE_ORIG.rawValue)), let flow = Flow(Attributes(tuple)), matches(flow)
        else { return }
        // The same tuple names it again.
        let type = UInt16(CTA_TUPLE_ORIG.rawValue) | 0x8000
        let head = withUnsafeBytes(of: (UInt16(tuple.count + 4), type)) { Array($0) }
        found.append([payload[0], 0, 0, 0] + head + Array(tuple))
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
  fileprivate init?(_ tuple: Attributes) {
    guard
      let transport = tuple.nested(Int(CTA_TUPLE_PROTO.rawValue)),
      let port = transport.bytes(Int(CTA_PROTO_DST_PORT.rawValue)), port.count >= 2
    else { return nil }
    switch transport.uint8(Int(CTA_PROTO_NUM.rawValue)).map(Int.init) {
    case Int(IPPROTO_TCP): self.transport = .tcp
    case Int(IPPROTO_UDP): self.transport = .udp
    case Int(IPPROTO_SCTP): self.transport = .sctp
    default: return nil
    }
    destinationPort = UInt16(port[0]) << 8 | UInt16(port[1])
  }
}
