import CNetlink
import Glibc
import RuntimeModel
import Synchronization
import Testing

@testable import PodNetwork

extension KernelTests {
  /// Somebody takes away what is ours, and has it back within a second (NETWORK.md 10).
  @Suite struct RepairTests {
    /// What can be taken away, by what it is called in `NetworkCounters.repairs`.
    enum Loss: String, CaseIterable, Sendable {
      case bridge, bridgeDown, address, address6, neighbour, neighbourMoved, forwardingEntry, forwardingEntryMoved, port
      case portOptions, route, route6, ruleset, table, chain

      var kind: NetworkRepair.Kind {
        switch self {
        case .bridge, .bridgeDown: .bridge
        case .address, .address6: .address
        case .neighbour, .neighbourMoved: .neighbour
        case .forwardingEntry, .forwardingEntryMoved: .forwardingEntry
        case .port, .portOptions: .port
        case .route, .route6: .route
        case .ruleset, .table, .chain: .rules
        }
      }
    }

    @Test func whateverIsTakenAwayComesBackWithinASecond() async throws {
      try await KernelRoom.withNetwork { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        let server = try await Endpoint.make(b.attachment.namespace, .tcp, port: 80)
        for loss in Loss.allCases {
          // Again where it was late: a machine that stands still for a moment does so once, what is slow is always so.
          var durations: [Duration] = []
          repeat {
            durations.append(try await repair(of: loss, network, a, b, server))
          } while durations.allSatisfy { $0 >= .seconds(1) } && durations.count < 5
          print("repair of \(loss.rawValue): \(durations)")
          #expect(durations.contains { $0 < .seconds(1) }, "\(loss): \(durations)")
        }
        #expect(network.counters.lost == 0)
        // Of the last look, which is counted before.
        try await KernelRoom.eventually("no finding") { network.findings().isEmpty }
      }
    }

    /// - Returns: from the loss to a connection from the first pod to the other's server.
    private func repair(
      of loss: Loss, _ network: PodNetwork, _ a: Pod, _ b: Pod, _ server: Endpoint
    ) async throws -> Duration {
      let before = try await sight(network)
      // Each case for itself: twenty in half a minute would be a fight.
      network.watch.withLock { $0.schedule = RepairSchedule(now: bootTime()) }
      let counted = network.counters.repairs[loss.kind, default: 0]
      let begin = ContinuousClock.now
      try take(loss, network, a, other: b)
      try await KernelRoom.eventually("\(loss) is repaired") {
        network.counters.repairs[loss.kind, default: 0] > counted
      }
      let client = try await Endpoint.make(a.attachment.namespace, .tcp)
      #expect(client.connect(to: b.lease.ipv4 ?? "", 80) == 0, "after \(loss)")
      let duration = ContinuousClock.now - begin
      #expect(server.acceptedPeer() == a.lease.ipv4)
      #expect(try await sight(network) == before, "\(loss): all is as it was")
      #expect(await network.readiness() == .ready, "after \(loss)")
      return duration
    }

    /// Everything of ours that is to be the same afterwards, without numbers that the kernel gives anew.
    private func sight(_ network: PodNetwork) async throws -> [String] {
      let socket = try NetlinkSocket(family: NETLINK_ROUTE)
      let bridge = try #require(try socket.link(named: "podbr0"))
      var found = ["\(bridge.isUp) \(bridge.mtu) \(bridge.mac) \(bridge.alias) \(bridge.group)"]
      found += try socket.links().filter { $0.master == bridge.index }.map {
        "\($0.name) \($0.isUp) \($0.alias) \($0.portOptions.sorted { $0.key < $1.key })"
      }
      found += try socket.addresses(of: bridge.index).map { "\($0)" }
      for family in AddressFamily.allCases {
        found += try socket.routes(family).filter { $0.interface == bridge.index }.map {
          "\($0.destination) \($0.metric)"
        }
      }
      for family in [AF_BRIDGE, AF_INET, AF_INET6] {
        found += try socket.fixedNeighbours(family: family).filter { $0.mac.bytes.starts(with: [0x0a, 0x58]) }.map {
          "\($0.interface == bridge.index ? "bridge" : "\($0.interface)") \($0.mac) \($0.address?.description ?? "")"
        }
      }
      let rules = try RuleFingerprint(network.plan, NetlinkSocket(family: NETLINK_NETFILTER)).rules
      found += Dictionary(grouping: rules.map { $0.split(separator: " ").dropLast().joined(separator: " ") }) { $0 }
        .map { "\($0.key): \($0.value.count) rules" }
      return found.sorted()
    }

    private func take(_ loss: Loss, _ network: PodNetwork, _ pod: Pod, other: Pod) throws {
      let socket = try NetlinkSocket(family: NETLINK_ROUTE)
      let bridge = try #require(try socket.link(named: "podbr0")?.index)
      let port = try #require(try socket.link(named: pod.lease.hostInterface)?.index)
      let otherPort = try #require(try socket.link(named: other.lease.hostInterface)?.index)
      let mac = try #require(MACAddress(pod.lease.mac))
      let address = try #require(pod.lease.ipv4.flatMap { IPAddress($0) })
      let plan = network.plan
      func run(_ message: OpaquePointer?) throws {
        try socket.run { batch throws(NetworkError) in try batch.add("take away", "\(loss)", message) }
      }
      switch loss {
      case .bridge: try run(RouteMessage.delete(bridge))
      case .bridgeDown: try run(RouteMessage.change(bridge, up: false))
      case .address:
        try run(RouteMessage.address(bridge, try #require(IPAddress("10.244.1.1")), prefix: 24, remove: true))
      case .address6: try run(RouteMessage.address(bridge, NetworkPlan.gatewayLinkLocal, prefix: 64, remove: true))
      case .neighbour: try run(RouteMessage.neighbour(bridge, address, nil))
      case .neighbourMoved: try run(RouteMessage.neighbour(bridge, address, MACAddress(other.lease.mac)))
      case .forwardingEntry: try run(RouteMessage.forwarding(port, mac, remove: true))
      case .forwardingEntryMoved: try run(RouteMessage.forwarding(otherPort, mac))
      case .port: try run(RouteMessage.setMaster(port, bridge: 0))
      case .portOptions: try run(RouteMessage.bridgePortUp(port, BridgePort(isFiltered: true)))
      case .route: try run(Self.routeDeletion(bridge, try #require(plan.ipv4)))
      case .route6: try run(Self.routeDeletion(bridge, try #require(plan.ipv6)))
      case .ruleset: try RuleEngine().run("flush ruleset")
      case .table: try RuleEngine().run("delete table bridge podguard")
      case .chain: try RuleEngine().run("flush chain inet podnet forward")
      }
    }

    /// Of whatever route leads to the block by this interface.
    private static func routeDeletion(_ index: Int32, _ block: AddressBlock) -> OpaquePointer? {
      let route = rtnl_route_alloc()
      let hop = rtnl_route_nh_alloc()
      let destination = nl_addr_build(block.family.number, block.base.bytes, block.base.bytes.count)
      defer {
        nl_addr_put(destination)
        rtnl_route_put(route)
      }
      nl_addr_set_prefixlen(destination, Int32(block.prefix))
      rtnl_route_set_family(route, UInt8(block.family.number))
      rtnl_route_set_dst(route, destination)
      rtnl_route_set_table(route, UInt32(RT_TABLE_MAIN.rawValue))
      rtnl_route_set_scope(route, UInt8(RT_SCOPE_NOWHERE.rawValue))
      rtnl_route_set_protocol(route, UInt8(RTPROT_UNSPEC))
      rtnl_route_nh_set_ifindex(hop, index)
      rtnl_route_add_nexthop(route, hop)
      var message: OpaquePointer?
      return rtnl_route_build_del_request(route, 0, &message) >= 0 ? message : nil
    }

    /// An nft service that starts again: everything goes, and somebody else's rules come, in one transaction.
    @Test func anotherRulesetDoesNotDisplaceOurs() async throws {
      var configuration = KernelRoom.configuration()
      for mode in NetworkConfiguration.ForwardAccept.allCases {
        configuration.forwardAccept = mode
        try await KernelRoom.withNetwork(configuration) { network in
          let outside = try await Outside()
          defer { try? outside.remove() }
          let pod = try await Pod(network)
          let engine = try RuleEngine()
          defer { try? engine.run("table ip filter\ndelete table ip filter\n") }
          try engine.run(
            """
            flush ruleset
            table ip filter {
              chain FORWARD { type filter hook forward priority 0; policy drop; ct state established accept; }
            }
            """)
          let netfilter = try NetlinkSocket(family: NETLINK_NETFILTER)
          try await KernelRoom.eventually("rules are back") {
            let rules = try RuleFingerprint(network.plan, netfilter).rules
            return !rules.isEmpty && rules == network.health.withLock { $0.rules.rules }
          }
          let expected = mode == .off ? [] : ["forward_drop ip filter FORWARD"]
          try await KernelRoom.eventually("it is said") {
            network.findings().map { "\($0.kind.rawValue) \($0.object)" } == expected
          }
          let server = try await Endpoint.make(outside.namespace, .tcp, port: 80)
          let client = try await Endpoint.make(pod.attachment.namespace, .tcp)
          let patience = mode == .insert ? Endpoint.patience : 150
          let isOpen = client.connect(to: Outside.address, 80, milliseconds: patience) == 0
          #expect(isOpen == (mode == .insert))
          if isOpen { #expect(server.acceptedPeer() == Outside.nodeAddress) }
          // Somebody takes them out of the foreign chain, or writes that anew.
          if mode == .insert {
            try engine.run("flush chain ip filter FORWARD")
            try await KernelRoom.eventually("accept rules are back") {
              network.counters.repairs[.forwardAccept] == 2
            }
            try await network.uninstall()
            let chains = try network.host.forwardChains()
            #expect(chains.map(\.ours) == [[]], "our rules are gone, the chain is not")
          }
        }
      }
    }

    /// What announces its change to nobody: found by the minute's look, which a test can have earlier.
    @Test func sysctlsAreLookedAfter() async throws {
      try await KernelRoom.withNetwork { network in
        let names = ["ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/podbr0/send_redirects"]
        let before = names.map { Sysctl.read($0) }
        for (name, value) in zip(names, ["0", "0", "1"]) { #expect(Sysctl.write(name, value) == 0) }
        network.watch.withLock { $0.schedule = RepairSchedule(now: bootTime() - RepairSchedule.period) }
        network.observer.wake()
        try await KernelRoom.eventually("they are back, and counted") {
          // Counted at the look's end.
          names.map { Sysctl.read($0) } == before && network.counters.repairs[.sysctl, default: 0] >= 3
        }
        #expect(network.counters.repairs[.sysctl] == 3)
      }
    }

    @Test(arguments: NetworkConfiguration.BridgeNfCall.allCases)
    func bridgeNetfilterMayFlip(mode: NetworkConfiguration.BridgeNfCall) async throws {
      let names = ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"]
      try KernelRoom.require()
      let before = try names.map { try #require(Sysctl.read($0), "no br_netfilter on this kernel") }
      defer { for (name, value) in zip(names, before) { _ = Sysctl.write(name, value) } }
      for name in names { _ = Sysctl.write(name, "0") }
      var configuration = KernelRoom.configuration()
      configuration.bridgeNfCall = mode
      try await KernelRoom.withNetwork(configuration) { network in
        let port = [HostPort(transport: .tcp, hostPort: 18099, containerPort: 80)]
        let server = try await Pod(network, ports: port)
        let listener = try await Endpoint.make(server.attachment.namespace, .tcp, port: 80)
        for value in ["1", "0"] {
          _ = Sysctl.write(names[0], value)
          // The next pod's attach sees it.
          let client = try await Pod(network)
          let socket = try NetlinkSocket(family: NETLINK_ROUTE)
          let wanted = BridgePort(isFiltered: mode == .keep && value == "1")
          try await KernelRoom.eventually("\(value): ports are as they must be") {
            let ports = try socket.links().filter { $0.group == 4242 && $0.kind == "veth" }
            return ports.allSatisfy { $0.isPort(like: wanted) }
              && Sysctl.read(names[0]) == (mode == .off ? "0" : value)
              // The finding is noted after the last port is set.
              && network.findings().map(\.kind) == (wanted.isFiltered ? [.bridgeNetfilter] : [])
          }
          #expect(
            try await Endpoint.make(client.attachment.namespace, .tcp).connect(to: "10.244.1.1", 18099) == 0)
          #expect(listener.acceptedPeer() == client.lease.ipv4)
        }
      }
    }

    @Test func aLostLinkIsToldAndNotMadeAgain() async throws {
      try await KernelRoom.withNetwork { network in
        let pod = try await Pod(network)
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        let index = try #require(try socket.link(named: pod.lease.hostInterface)?.index)
        try socket.run { batch throws(NetworkError) in try batch.add("take", "port", RouteMessage.delete(index)) }
        var losses = network.losses.makeAsyncIterator()
        #expect(await losses.next()?.sandbox == pod.id)
        #expect(network.counters.lost == 1)
        // A look at everything does not bring it back.
        network.compareSoon(.all)
        try await network.writer.run { () throws(NetworkError) in }
        #expect(try socket.link(named: pod.lease.hostInterface) == nil)
        #expect(network.ledger.withLock { $0.allocator.used } == 1, "it keeps its lease")
      }
    }

    /// Dropped events: what they told of is found all the same.
    @Test func droppedEventsCostALook() async throws {
      try await KernelRoom.withNetwork { network in
        let pod = try await Pod(network)
        let socket = try NetlinkSocket(family: NETLINK_ROUTE)
        let bridge = try #require(try socket.link(named: "podbr0")?.index)
        let address = try #require(pod.lease.ipv4.flatMap { IPAddress($0) })
        // An observer that is told of nothing, as if the kernel had dropped it.
        network.health.withLock { $0.bridges = [0: -1] }
        try socket.run { batch throws(NetworkError) in
          try batch.add("take", "neighbour", RouteMessage.neighbour(bridge, address, nil))
        }
        network.received(.dropped(.links))
        network.observer.wake()
        try await KernelRoom.eventually("it is back") {
          try socket.fixedNeighbours(family: AF_INET).contains { $0.address == address }
        }
        #expect(network.counters.droppedEvents == 1)
        #expect(network.health.withLock { $0.bridge } == bridge)
      }
    }
  }
}
