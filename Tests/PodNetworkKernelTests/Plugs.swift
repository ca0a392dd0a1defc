import CNetlink
import Testing

@testable import PodNetwork

/// Somebody else's ports in a bridge, for as long as `body` runs: both ends of veth pairs.
func withPlugs(_ count: Int, in bridge: String, mtu: UInt32 = 1500, _ body: () async throws -> Void) async throws {
  let group: UInt32 = 77
  let socket = try NetlinkSocket(family: NETLINK_ROUTE)
  let master = try #require(try socket.link(named: bridge)?.index)
  for part in stride(from: 0, to: count, by: 64) {
    try socket.run { batch throws(NetworkError) in
      for number in stride(from: part, to: min(part + 64, count), by: 2) {
        try batch.add("create", "plug\(number)", pair(number, mtu, group))
      }
    }
  }
  let ends = Array(try socket.links().filter { $0.name.hasPrefix("plug") }.map(\.index).prefix(count))
  for part in stride(from: 0, to: count, by: 64) {
    try socket.run { batch throws(NetworkError) in
      for index in ends[part..<min(part + 64, count)] {
        try batch.add("put into \(bridge)", "\(index)", RouteMessage.setMaster(index, bridge: master))
      }
    }
  }
  let result: Result<Void, any Error>
  do {
    result = .success(try await body())
  } catch {
    result = .failure(error)
  }
  try socket.run { batch throws(NetworkError) in
    try batch.add("remove", "plugs", RouteMessage.deleteGroup(group))
  }
  try result.get()
}

private func pair(_ number: Int, _ mtu: UInt32, _ group: UInt32) -> OpaquePointer? {
  guard let link = rtnl_link_veth_alloc(), let peer = rtnl_link_veth_get_peer(link) else { return nil }
  defer {
    rtnl_link_put(peer)
    rtnl_link_put(link)
  }
  rtnl_link_set_group(link, group)
  for (end, one) in [link, peer].enumerated() {
    rtnl_link_set_name(one, "plug\(number + end)")
    rtnl_link_set_mtu(one, mtu)
  }
  var message: OpaquePointer?
  return rtnl_link_build_add_request(link, NLM_F_CREATE | NLM_F_EXCL, &message) >= 0 ? message : nil
}
