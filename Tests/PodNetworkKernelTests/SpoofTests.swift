import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Testing

@testable import PodNetwork

extension KernelTests {
  /// NETWORK.md 5.5: what a pod with NET_RAW can send changes nobody's view of the network, and is counted.
  @Suite struct SpoofTests {
    /// The attacker's, the victim's and the node's addresses.
    struct Scene: Sendable {
      var mine: [UInt8]
      var theirs: [UInt8]
      var own: [UInt8]
      var victim: [UInt8]
      var own6: IPAddress
      var victim6: IPAddress
      let gateway: [UInt8] = [10, 244, 1, 1]
      let bridge: [UInt8] = [0x0a, 0x58, 10, 244, 1, 1]
    }

    struct Attack: Sendable, CustomTestStringConvertible {
      var testDescription: String
      /// Who takes it; nil: the bridge's port, which does not count.
      var counter: RuleCounter?
      var frame: @Sendable (Scene) -> [UInt8]
    }

    static let attacks = [
      Attack(testDescription: "ARP: the victim's address is at my MAC", counter: .spoofedARP) {
        Frame.broadcast + $0.mine + Frame.arp($0.mine, $0.victim, $0.victim)
      },
      Attack(testDescription: "ARP: the gateway is at my MAC", counter: .spoofedARP) {
        Frame.broadcast + $0.mine + Frame.arp($0.mine, $0.gateway, $0.gateway)
      },
      Attack(testDescription: "ARP: my address is at the victim's MAC", counter: .spoofedARP) {
        Frame.broadcast + $0.mine + Frame.arp($0.theirs, $0.own, $0.own)
      },
      Attack(testDescription: "ARP under the victim's MAC", counter: nil) {
        Frame.broadcast + $0.theirs + Frame.arp($0.theirs, $0.victim, $0.gateway)
      },
      Attack(testDescription: "IPv4 under the victim's MAC", counter: .spoofedIPv4) {
        $0.bridge + $0.theirs + Frame.udp4($0.own, $0.victim, from: 9, to: 9)
      },
      Attack(testDescription: "IPv4 under the victim's MAC and address", counter: nil) {
        $0.bridge + $0.theirs + Frame.udp4($0.victim, $0.gateway, from: 9, to: 9)
      },
      Attack(testDescription: "IPv4 under the victim's address", counter: .spoofedIPv4) {
        $0.bridge + $0.mine + Frame.udp4($0.victim, $0.victim, from: 9, to: 9)
      },
      Attack(testDescription: "IPv4 under the gateway's address", counter: .spoofedIPv4) {
        $0.bridge + $0.mine + Frame.udp4($0.gateway, $0.victim, from: 9, to: 9)
      },
      Attack(testDescription: "IPv6 under the victim's address", counter: .spoofedIPv6) {
        $0.bridge + $0.mine + Frame.icmp6($0.victim6, $0.victim6, [128, 0, 0, 0, 0, 1, 0, 1])
      },
      Attack(testDescription: "neighbour advertisement for the victim", counter: .spoofedIPv6) {
        $0.bridge + $0.mine
          + Frame.icmp6(
            $0.victim6, Frame.allNodes, [136, 0, 0, 0, 0x20, 0, 0, 0] + $0.victim6.bytes + [2, 1] + $0.mine)
      },
      Attack(testDescription: "router advertisement", counter: .routerAdvertisement) {
        [0x33, 0x33, 0, 0, 0, 1] + $0.mine
          + Frame.icmp6(
            MACAddress(bytes: $0.mine).linkLocal, Frame.allNodes,
            [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])
      },
      Attack(testDescription: "ICMPv6 redirect", counter: .routerAdvertisement) {
        $0.bridge + $0.mine
          + Frame.icmp6(
            MACAddress(bytes: $0.mine).linkLocal, $0.victim6,
            [137, 0, 0, 0, 0, 0, 0, 0] + $0.own6.bytes + $0.victim6.bytes)
      },
      Attack(testDescription: "DHCP server", counter: .dhcpServer) {
        Frame.broadcast + $0.mine + Frame.udp4($0.own, [255, 255, 255, 255], from: 67, to: 68)
      },
      Attack(testDescription: "another protocol", counter: .foreignFrame) {
        Frame.broadcast + $0.mine + [0x88, 0xcc, 2, 7, 4] + $0.mine + [0, 0]
      },
      Attack(testDescription: "a VLAN's frame", counter: .foreignFrame) {
        Frame.broadcast + $0.mine + [0x81, 0, 0, 5] + Frame.arp($0.mine, $0.victim, $0.victim)
      },
    ]

    @Test func attacksAreCountedAndReachNobody() async throws {
      try await KernelRoom.withNetwork { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        let scene = Scene(
          mine: try #require(MACAddress(a.lease.mac)).bytes, theirs: try #require(MACAddress(b.lease.mac)).bytes,
          own: try address(a.lease.ipv4).bytes, victim: try address(b.lease.ipv4).bytes,
          own6: try address(a.lease.ipv6), victim6: try address(b.lease.ipv6))
        let before = try view()
        let node = try await Endpoint.make(nil, port: 9)
        let server = try await Endpoint.make(b.attachment.namespace, port: 9)
        let listener = try await packetSocket(b)
        let attacker = try await packetSocket(a)
        #expect(try await network.ruleCounters().spoofed.packets == 0)
        var expected: [RuleCounter: UInt64] = [:]
        for attack in Self.attacks {
          try send(attacker, attack.frame(scene))
          if let counter = attack.counter {
            expected[counter, default: 0] += 1
            _ = try await network.counted(expected[counter, default: 0], counter)
          }
          let counts = try await network.ruleCounters()
          for counter in RuleCounter.allCases where counter.isSpoofing {
            #expect(counts[counter].packets == expected[counter] ?? 0, "\(counter) after \(attack.testDescription)")
          }
          #expect(try view() == before, "\(attack.testDescription)")
        }
        #expect(server.receive(milliseconds: 50) == nil && node.receive(milliseconds: 1) == nil)
        // The pods still find each other, and the victim has seen none of it.
        #expect(try await Endpoint.make(a.attachment.namespace).send("real", to: b.lease.ipv4 ?? "", 9) == 0)
        #expect(server.receive()?.from == a.lease.ipv4)
        #expect(frames(listener).filter { $0.dropFirst(6).starts(with: scene.mine) }.isEmpty)
        #expect(try await network.ruleCounters().spoofed.packets == UInt64(expected.values.reduce(0, +)))
      }
    }

    /// With `switched` addressing pods hear each other, and what they hear is true.
    @Test func inASharedNetworkNobodyAdvertisesAnothersAddress() async throws {
      var configuration = KernelRoom.configuration()
      configuration.addressing = .switched
      try await KernelRoom.withNetwork(configuration) { network in
        let (a, b, c) = (try await Pod(network), try await Pod(network), try await Pod(network))
        let mac = try #require(MACAddress(a.lease.mac))
        let theirs = try #require(MACAddress(c.lease.mac)).bytes
        let own = try #require(a.lease.ipv6.flatMap { IPAddress($0) })
        let victim = try #require(b.lease.ipv6.flatMap { IPAddress($0) })
        let victim4 = try #require(b.lease.ipv4.flatMap { IPAddress($0) }).bytes
        let own4 = try #require(a.lease.ipv4.flatMap { IPAddress($0) }).bytes
        let (listener, attacker) = (try await packetSocket(c), try await packetSocket(a))
        let head = theirs + mac.bytes
        for source in [own, mac.linkLocal] {
          try send(attacker, head + Frame.advertisement(from: source, of: victim, at: mac))
        }
        try send(attacker, Frame.broadcast + mac.bytes + Frame.arp(mac.bytes, victim4, victim4))
        #expect(advertisements(listener, from: mac).isEmpty)
        // The same about itself arrives.
        try send(attacker, head + Frame.advertisement(from: own, of: own, at: mac))
        try send(attacker, head + Frame.advertisement(from: mac.linkLocal, of: mac.linkLocal, at: mac))
        try send(attacker, Frame.broadcast + mac.bytes + Frame.arp(mac.bytes, own4, own4))
        var heard = 0
        try await KernelRoom.eventually("what is true arrives") {
          heard += advertisements(listener, from: mac).count
          return heard >= 3
        }
        #expect(heard == 3)
      }
    }

    private func address(_ text: String?) throws -> IPAddress { try #require(text.flatMap { IPAddress($0) }) }

    /// The node's fixed neighbours and forwarding entries of pods; those of multicast come and go.
    private func view() throws -> Set<Neighbour> {
      let socket = try NetlinkSocket(family: NETLINK_ROUTE)
      return try [AF_BRIDGE, AF_INET, AF_INET6]
        .reduce(into: Set()) { $0.formUnion(try socket.fixedNeighbours(family: $1)) }
        .filter { $0.mac.bytes.starts(with: [0x0a, 0x58]) }
    }

    private func packetSocket(_ pod: Pod) async throws -> SharedFD {
      try await KernelRoom.inside(pod.attachment.namespace) {
        // ETH_P_ALL; eth0 is the only interface that has frames.
        let raw = socket(AF_PACKET, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), Int32(UInt16(3).bigEndian))
        guard raw >= 0 else { throw TestFailure(text: "packet socket: errno \(errno)") }
        return SharedFD(OwnedFD(owning: raw))
      }
    }

    private func send(_ socket: SharedFD, _ frame: [UInt8]) throws {
      // struct sockaddr_ll: family, protocol, interface index; the rest is not looked at.
      var address = [UInt8](repeating: 0, count: 20)
      address[0] = UInt8(AF_PACKET)
      address[4] = 2
      let sent = address.withUnsafeBytes { bytes in
        bytes.withMemoryRebound(to: sockaddr.self) { sendto(socket.raw, frame, frame.count, 0, $0.baseAddress, 20) }
      }
      if sent != frame.count { throw TestFailure(text: "send frame: errno \(errno)") }
    }

    /// ARP and neighbour advertisements; a pod's kernel reports its multicast groups, too, whenever it likes.
    private func advertisements(_ socket: SharedFD, from mac: MACAddress) -> [[UInt8]] {
      frames(socket).filter { frame in
        guard frame.dropFirst(6).starts(with: mac.bytes) else { return false }
        if frame.dropFirst(12).starts(with: [0x08, 0x06]) { return true }
        // The IPv6 header's next header is ICMPv6, and that begins with its type.
        return frame.count > 54 && frame[20] == 58 && frame[54] == 136
      }
    }

    private func frames(_ socket: SharedFD) -> [[UInt8]] {
      var frames: [[UInt8]] = []
      var bytes = [UInt8](repeating: 0, count: 2048)
      while true {
        let count = recv(socket.raw, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        guard count > 0 else { return frames }
        frames.append(Array(bytes[..<count]))
      }
    }
  }
}

/// What follows the two MACs of a frame.
enum Frame {
  static let broadcast: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
  static let allNodes = IPAddress(.ipv6, UInt128(0xff02) << 112 | 1)

  /// A reply (RFC 826).
  static func arp(_ mac: [UInt8], _ sender: [UInt8], _ target: [UInt8]) -> [UInt8] {
    [8, 6, 0, 1, 8, 0, 6, 4, 0, 2] + mac + sender + broadcast + target
  }

  /// Without a checksum of UDP, which IPv4 allows.
  static func udp4(_ source: [UInt8], _ destination: [UInt8], from: UInt16, to: UInt16) -> [UInt8] {
    let text = Array("spoof".utf8)
    let udp = [UInt8(from >> 8), UInt8(from & 0xff), UInt8(to >> 8), UInt8(to & 0xff), 0, UInt8(8 + text.count), 0, 0]
    var header: [UInt8] = [0x45, 0, 0, UInt8(28 + text.count), 0, 1, 0, 0, 64, 17, 0, 0] + source + destination
    let sum = checksum(header)
    header[10...11] = [UInt8(sum >> 8), UInt8(sum & 0xff)]
    return [8, 0] + header + udp + text
  }

  static func icmp6(_ source: IPAddress, _ destination: IPAddress, _ message: [UInt8]) -> [UInt8] {
    var message = message
    let sum = checksum(source.bytes + destination.bytes + [0, 0, 0, UInt8(message.count), 0, 0, 0, 58] + message)
    message[2...3] = [UInt8(sum >> 8), UInt8(sum & 0xff)]
    return [0x86, 0xdd, 0x60, 0, 0, 0, 0, UInt8(message.count), 58, 255] + source.bytes + destination.bytes + message
  }

  /// A neighbour advertisement that is to override (RFC 4861 section 4.4).
  static func advertisement(from source: IPAddress, of target: IPAddress, at mac: MACAddress) -> [UInt8] {
    icmp6(source, allNodes, [136, 0, 0, 0, 0x20, 0, 0, 0] + target.bytes + [2, 1] + mac.bytes)
  }

  /// RFC 1071.
  private static func checksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for (index, byte) in bytes.enumerated() { sum += index % 2 == 0 ? UInt32(byte) << 8 : UInt32(byte) }
    while sum >> 16 != 0 { sum = (sum & 0xffff) + (sum >> 16) }
    return ~UInt16(sum)
  }
}
