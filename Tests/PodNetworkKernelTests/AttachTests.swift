import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct AttachTests {
    /// NETWORK.md 13: with routing and network devices; eth0, lo, default routes, nothing else.
    @Test func aPodHasLoopbackEth0AndDefaultRoutes() async throws {
      try await KernelRoom.withNetwork { network in
        let pod = try await Pod(network)
        #expect(pod.lease.ipv4 == "10.244.1.2")
        #expect(pod.lease.ipv6 == "fd44:1::2")
        #expect(pod.attachment.gateway == "10.244.1.1")
        let (links, addresses, routes) = try await KernelRoom.inside(pod.attachment.namespace) {
          let socket = try NetlinkSocket(family: NETLINK_ROUTE)
          return (
            try socket.links(), try socket.addresses(of: 2),
            try AddressFamily.allCases.flatMap { try socket.routes($0) }
          )
        }
        #expect(links.map(\.name) == ["lo", "eth0"])
        #expect(links.map(\.isUp) == [true, true])
        #expect(links.last?.mac == MACAddress(pod.lease.mac)?.bytes)
        #expect(links.last?.mtu == 1500)
        let texts = Set(addresses.map { "\($0.address)/\($0.prefix)" })
        #expect(texts == ["10.244.1.2/32", "fd44:1::2/128", "fe80::858:aff:fef4:102/64"])
        let defaults = routes.filter { $0.destination.prefix == 0 }
        #expect(defaults.map(\.destination.family) == [.ipv4, .ipv6])
        #expect(routes.allSatisfy { $0.interface == 2 })
      }
    }

    @Test func theHostEndIsALockedSilentPort() async throws {
      try await KernelRoom.withNetwork { network in
        let pod = try await Pod(network)
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        let bridge = try #require(try socket.link(named: "podbr0"))
        let link = try #require(try socket.link(named: pod.lease.hostInterface))
        #expect(link.master == bridge.index)
        #expect(link.alias == "podnet:\(pod.id)")
        #expect(link.group == 4242)
        #expect(link.isUp && link.isPort(like: BridgePort()))
        #expect(try socket.addresses(of: link.index).isEmpty)
        #expect(bridge.mac == MACAddress("0a:58:0a:f4:01:01")?.bytes)
        #expect(
          try socket.addresses(of: bridge.index).map(\.address.description).sorted() == [
            "10.244.1.1", "fd44:1::1", "fe80::1",
          ])
      }
    }

    /// Makes namespaces while it looks: no thread of ours may ever leave the node's namespace for longer than its life.
    @Test func noOtherThreadIsMoved() async throws {
      try await KernelRoom.withNetwork { network in
        let home = KernelRoom.inode("/proc/self/ns/net")
        let pods = try await [Pod(network), Pod(network)]
        let made = pods.map { KernelRoom.inode("/proc/self/fd/\($0.attachment.namespace.raw)") }
        #expect(Set(made + [home]).count == 3)
        try await KernelRoom.eventually("every thread is at home") {
          let names = threads()
          #expect(!names.isEmpty)
          // A thread that ends meanwhile has no namespace any more.
          return names.allSatisfy { [0, home].contains(KernelRoom.inode("/proc/self/task/\($0)/ns/net")) }
        }
        #expect(KernelRoom.inode("/proc/self/ns/net") == home)
      }
    }

    @Test func anotherInterfaceWithThePodsNameIsLeftAlone() async throws {
      try await KernelRoom.withNetwork { network in
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        try await withBridge("pod0af40102") {
          let error = await #expect(throws: NetworkError.self) { _ = try await Pod(network) }
          #expect(error == .interfaceTaken(name: "pod0af40102", owner: "a bridge"))
          let link = try socket.link(named: "pod0af40102")
          #expect(link?.isUp == false)
        }
        // The next address has nobody in its way.
        #expect(try await Pod(network).lease.ipv4 == "10.244.1.3")
      }
    }

    @Test func aSmallBlockRunsOutInWords() async throws {
      var configuration = KernelRoom.configuration()
      configuration.podCIDRs = ["10.244.9.0/30"]
      try await KernelRoom.withNetwork(configuration) { network in
        let pod = try await Pod(network)
        let error = #expect(throws: NetworkError.self) { try network.reserveLease() }
        #expect(error == .addressExhausted(cidrs: "10.244.9.0/30", used: 1, quarantined: 0))
        await network.detach(sandbox: pod.id, lease: pod.lease)
        let still = #expect(throws: NetworkError.self) { try network.reserveLease() }
        #expect(still == .addressExhausted(cidrs: "10.244.9.0/30", used: 1, quarantined: 0))
      }
    }

    @Test func manyAtOnceGetDifferentAddresses() async throws {
      try await KernelRoom.withNetwork { network in
        let pods = try await withThrowingTaskGroup(of: Pod.self) { group in
          for _ in 0..<40 { group.addTask { try await Pod(network) } }
          return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(pods.compactMap(\.lease.ipv4)).count == 40)
        for pod in pods { await network.detach(sandbox: pod.id, lease: pod.lease) }
      }
    }

    private func threads() -> [String] {
      guard let directory = opendir("/proc/self/task") else { return [] }
      defer { closedir(directory) }
      var names: [String] = []
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if !name.hasPrefix(".") { names.append(name) }
      }
      return names
    }
  }
}

/// Somebody else's bridge, for as long as `body` runs.
func withBridge(_ name: String, _ body: () async throws -> Void) async throws {
  let socket = try NetlinkSocket(family: NETLINK_ROUTE)
  try socket.run { batch throws(NetworkError) in
    try batch.add(
      "create", name,
      RouteMessage.createBridge(name: name, group: 0, mac: MACAddress(derivedFrom: 99), mtu: 1500))
  }
  let index = try socket.link(named: name)?.index ?? 0
  let remove = { () throws in
    _ = try socket.run { batch throws(NetworkError) in try batch.add("remove", name, RouteMessage.delete(index)) }
  }
  do {
    try await body()
  } catch {
    try? remove()
    throw error
  }
  try remove()
}
