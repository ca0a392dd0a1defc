import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Testing

@testable import PodNetwork

extension KernelTests {
  /// NETWORK.md 5.5: what a pod with NET_RAW can send changes nobody's view of the network.
  @Suite struct SpoofTests {
    private static let broadcast: [UInt8] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]

    @Test func framesOfAnAttackerReachNobody() async throws {
      try await KernelRoom.withNetwork { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        let mine = try #require(MACAddress(a.lease.mac)).bytes
        let theirs = try #require(MACAddress(b.lease.mac)).bytes
        let victim = try #require(b.lease.ipv4.flatMap { IPAddress($0) }).bytes
        let gateway = try #require(IPAddress("10.244.1.1")).bytes
        let before = try view()
        let listener = try await packetSocket(b)
        let attacker = try await packetSocket(a)
        for claimed in [victim, gateway] {
          // Gratuitous ARP (RFC 826): the address is at my MAC.
          try send(attacker, Self.broadcast + mine + [8, 6] + arp(mine, claimed, claimed))
        }
        // The victim's own MAC, so that the bridge might learn it at my port.
        try send(attacker, Self.broadcast + theirs + [8, 6] + arp(theirs, victim, gateway))
        // A router advertisement (RFC 4861) to all nodes.
        let allNodes: [UInt8] = [0x33, 0x33, 0, 0, 0, 1]
        try send(attacker, allNodes + mine + [0x86, 0xdd] + routerAdvertisement(MACAddress(bytes: mine).linkLocal))
        #expect(try view() == before)
        // The pods still find each other, and the victim has seen none of it.
        let server = try await Endpoint.make(b.attachment.namespace, port: 9)
        #expect(try await Endpoint.make(a.attachment.namespace).send("real", to: b.lease.ipv4 ?? "", 9) == 0)
        #expect(server.receive()?.from == a.lease.ipv4)
        #expect(frames(listener).filter { $0.dropFirst(6).starts(with: mine) }.isEmpty)
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
        let head = theirs + mac.bytes + [0x86, 0xdd]
        for source in [own, mac.linkLocal] {
          try send(attacker, head + advertisement(from: source, of: victim, at: mac))
        }
        try send(attacker, Self.broadcast + mac.bytes + [8, 6] + arp(mac.bytes, victim4, victim4))
        #expect(frames(listener).filter { $0.dropFirst(6).starts(with: mac.bytes) }.isEmpty)
        // The same about itself arrives.
        try send(attacker, head + advertisement(from: own, of: own, at: mac))
        try send(attacker, head + advertisement(from: mac.linkLocal, of: mac.linkLocal, at: mac))
        try send(attacker, Self.broadcast + mac.bytes + [8, 6] + arp(mac.bytes, own4, own4))
        #expect(frames(listener).filter { $0.dropFirst(6).starts(with: mac.bytes) }.count == 3)
      }
    }

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

    private func frames(_ socket: SharedFD) -> [[UInt8]] {
      var frames: [[UInt8]] = []
      var bytes = [UInt8](repeating: 0, count: 2048)
      while true {
        let count = recv(socket.raw, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        guard count > 0 else { return frames }
        frames.append(Array(bytes[..<count]))
      }
    }

    private func arp(_ mac: [UInt8], _ sender: [UInt8], _ target: [UInt8]) -> [UInt8] {
      [0, 1, 8, 0, 6, 4, 0, 2] + mac + sender + Self.broadcast + target
    }

    /// A neighbour advertisement that is to override (RFC 4861 section 4.4).
    private func advertisement(from source: IPAddress, of target: IPAddress, at mac: MACAddress) -> [UInt8] {
      let payload = [136, 0, 0, 0, 0x20, 0, 0, 0] + target.bytes + [2, 1] + mac.bytes
      let allNodes: [UInt8] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
      return [0x60, 0, 0, 0, 0, UInt8(payload.count), 58, 255] + source.bytes + allNodes + payload
    }

    private func routerAdvertisement(_ source: IPAddress) -> [UInt8] {
      let payload: [UInt8] = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]
      let allNodes: [UInt8] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
      return [0x60, 0, 0, 0, 0, UInt8(payload.count), 58, 255] + source.bytes + allNodes + payload
    }
  }
}
