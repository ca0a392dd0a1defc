import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Testing

@testable import PodNetwork

/// A UDP or TCP socket that was made inside a namespace; it stays there, whoever uses it.
struct Endpoint: Sendable {
  enum Kind: Sendable { case udp, tcp }

  /// Milliseconds for what is to come, on a loaded machine.
  static let patience: Int32 = 30_000

  let descriptor: SharedFD

  /// - Parameters:
  ///   - namespace: nil: the test's own, which plays the node.
  ///   - listens: nil: when it is TCP and has a port.
  static func make(
    _ namespace: SharedFD?, _ kind: Kind = .udp, bind address: String? = nil, port: UInt16 = 0,
    family: AddressFamily = .ipv4, listens: Bool? = nil
  ) async throws -> Endpoint {
    let make: @Sendable () throws -> Endpoint = {
      let local = address.flatMap { IPAddress($0) } ?? IPAddress(family, 0)
      let raw = socket(
        local.family.number, Int32((kind == .tcp ? SOCK_STREAM : SOCK_DGRAM).rawValue | SOCK_CLOEXEC.rawValue), 0)
      guard raw >= 0 else { throw TestFailure(text: "socket: errno \(errno)") }
      let endpoint = Endpoint(descriptor: SharedFD(OwnedFD(owning: raw)))
      var one: Int32 = 1
      setsockopt(raw, SOL_SOCKET, SO_REUSEADDR, &one, 4)
      if local.family == .ipv6 { setsockopt(raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &one, 4) }
      guard withAddress(local, port, { bind(raw, $0, $1) }) == 0 else {
        throw TestFailure(text: "bind \(local): errno \(errno)")
      }
      if listens ?? (kind == .tcp && port != 0) { listen(raw, 8) }
      return endpoint
    }
    guard let namespace else { return try make() }
    return try await KernelRoom.inside(namespace, make)
  }

  /// - Returns: 0 or an errno.
  func send(_ text: String, to address: String, _ port: UInt16) -> Int32 {
    send(Array(text.utf8), to: address, port)
  }

  func send(_ bytes: [UInt8], to address: String, _ port: UInt16) -> Int32 {
    guard let target = IPAddress(address) else { return EINVAL }
    let sent = Self.withAddress(target, port) { sendto(descriptor.raw, bytes, bytes.count, 0, $0, $1) }
    return sent == bytes.count ? 0 : errno
  }

  /// Waits for a datagram.
  /// - Returns: its text and the sender's address; nil when none came in time.
  func receive(milliseconds: Int32 = Endpoint.patience) -> (text: String, from: String, port: UInt16)? {
    var waiting = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
    guard poll(&waiting, 1, milliseconds) == 1 else { return nil }
    var bytes = [UInt8](repeating: 0, count: 2048)
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let count = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        recvfrom(descriptor.raw, &bytes, bytes.count, 0, $0, &length)
      }
    }
    guard count >= 0 else { return nil }
    let (address, port) = Self.read(storage)
    return (String(decoding: bytes[..<count], as: UTF8.self), address, port)
  }

  /// Waits for a packet of a raw socket.
  func receiveBytes(milliseconds: Int32 = Endpoint.patience) -> [UInt8]? {
    var waiting = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
    guard poll(&waiting, 1, milliseconds) == 1 else { return nil }
    var bytes = [UInt8](repeating: 0, count: 2048)
    let count = recv(descriptor.raw, &bytes, bytes.count, 0)
    return count >= 0 ? Array(bytes[..<count]) : nil
  }

  /// Lets the connection end without a word (tcp(7), TCP_REPAIR): nobody learns of it, and the port is free at once.
  func fallSilent() {
    var repair: Int32 = 1
    setsockopt(descriptor.raw, Int32(IPPROTO_TCP), TCP_REPAIR, &repair, 4)
  }

  /// - Returns: 0, or the errno that the connection ended with.
  func connect(to address: String, _ port: UInt16, milliseconds: Int32 = Endpoint.patience) -> Int32 {
    guard let target = IPAddress(address) else { return EINVAL }
    _ = fcntl(descriptor.raw, F_SETFL, O_NONBLOCK)
    let now = Self.withAddress(target, port) { Glibc.connect(descriptor.raw, $0, $1) }
    if now == 0 { return 0 }
    guard errno == EINPROGRESS else { return errno }
    var waiting = pollfd(fd: descriptor.raw, events: Int16(POLLOUT), revents: 0)
    guard poll(&waiting, 1, milliseconds) == 1 else { return ETIMEDOUT }
    var failure: Int32 = 0
    var length = socklen_t(4)
    getsockopt(descriptor.raw, SOL_SOCKET, SO_ERROR, &failure, &length)
    return failure
  }

  /// - Returns: the peer's address; nil when nobody came.
  func acceptedPeer(milliseconds: Int32 = Endpoint.patience) -> String? {
    var waiting = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
    guard poll(&waiting, 1, milliseconds) == 1 else { return nil }
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let raw = withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { accept(descriptor.raw, $0, &length) }
    }
    guard raw >= 0 else { return nil }
    close(raw)
    return Self.read(storage).address
  }

  private static func withAddress<Value>(
    _ address: IPAddress, _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
  ) -> Value {
    var storage = sockaddr_storage()
    return withUnsafeMutablePointer(to: &storage) { pointer in
      let raw = UnsafeMutableRawPointer(pointer)
      let bytes = address.bytes
      let length: Int
      if address.family == .ipv4 {
        let four = raw.assumingMemoryBound(to: sockaddr_in.self)
        four.pointee.sin_family = sa_family_t(AF_INET)
        four.pointee.sin_port = port.bigEndian
        withUnsafeMutableBytes(of: &four.pointee.sin_addr) { $0.copyBytes(from: bytes) }
        length = MemoryLayout<sockaddr_in>.size
      } else {
        let six = raw.assumingMemoryBound(to: sockaddr_in6.self)
        six.pointee.sin6_family = sa_family_t(AF_INET6)
        six.pointee.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &six.pointee.sin6_addr) { $0.copyBytes(from: bytes) }
        length = MemoryLayout<sockaddr_in6>.size
      }
      return pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
    }
  }

  private static func read(_ storage: sockaddr_storage) -> (address: String, port: UInt16) {
    withUnsafeBytes(of: storage) { bytes in
      let port = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
      let isFour = Int32(storage.ss_family) == AF_INET
      let address = IPAddress(isFour ? .ipv4 : .ipv6, bytes: isFour ? bytes[4..<8] : bytes[8..<24])
      return (address.description, port)
    }
  }
}

/// A namespace beside the node, on a wire of its own: everything that is not the cluster.
struct Outside: Sendable {
  static let nodeAddress = "192.0.2.1"
  static let address = "192.0.2.2"
  static let nodeAddress6 = "2001:db8::1"
  static let address6 = "2001:db8::2"
  let namespace: SharedFD

  init() async throws {
    let made = try await withCheckedContinuation { continuation in
      NamespaceMaker().make { continuation.resume(returning: $0) }
    }.get()
    let routes = try NetlinkSocket(family: NETLINK_ROUTE)
    let mac = MACAddress(derivedFrom: 0xc000_0202)
    try routes.run { batch throws(NetworkError) in
      try batch.add(
        "create", "outside0",
        RouteMessage.vethPair(
          name: "outside0", bridge: 0, group: 0, mtu: 1500, podNamespace: made.descriptor.raw, podMAC: mac))
    }
    // Else nothing is sent until the kernel is sure of its link-local address, a second later.
    _ = Sysctl.write("ipv6/conf/outside0/accept_dad", "0")
    let link = try routes.link(named: "outside0")
    try routes.run { batch throws(NetworkError) in
      try batch.add("set up", "outside0", RouteMessage.change(link?.index ?? 0, up: true))
      try batch.add(
        "address", "outside0",
        RouteMessage.address(link?.index ?? 0, IPAddress(.ipv4, 0xc000_0201), prefix: 24))
      try batch.add(
        "address", "outside0",
        RouteMessage.address(link?.index ?? 0, Self.documentation(1), prefix: 64))
      try batch.add("set up", "lo", RouteMessage.change(1, up: true))
    }
    try made.routes.run { batch throws(NetworkError) in
      try batch.add("set up", "eth0", RouteMessage.change(2, up: true))
      for (own, node) in [
        (IPAddress(.ipv4, 0xc000_0202), IPAddress(.ipv4, 0xc000_0201)), (Self.documentation(2), Self.documentation(1)),
      ] {
        try batch.add("address", "eth0", RouteMessage.address(2, own, prefix: own.family == .ipv4 ? 24 : 64))
        try batch.add(
          "route", "eth0", RouteMessage.route(2, to: AddressBlock(IPAddress(own.family, 0), prefix: 0), via: node))
      }
    }
    namespace = made.descriptor
    // The kernel takes note of the carrier in its own time, and drops packets until then.
    try await KernelRoom.eventually("the wire is up") { try routes.link(named: "outside0")?.isRunning == true }
  }

  /// 2001:db8::number (RFC 3849).
  private static func documentation(_ number: UInt128) -> IPAddress {
    IPAddress(.ipv6, UInt128(0x2001_0db8) << 96 | number)
  }

  /// The wire goes at once, so that the next test finds none.
  func remove() throws {
    let routes = try NetlinkSocket(family: NETLINK_ROUTE)
    guard let link = try routes.link(named: "outside0") else { return }
    try routes.run { batch throws(NetworkError) in try batch.add("remove", "outside0", RouteMessage.delete(link.index))
    }
  }
}

/// Packets of SCTP by hand.
enum SCTP {
  static func socket(_ namespace: SharedFD) async throws -> Endpoint {
    try await KernelRoom.inside(namespace) {
      let raw = Glibc.socket(AF_INET, Int32(SOCK_RAW.rawValue | SOCK_CLOEXEC.rawValue), Int32(IPPROTO_SCTP))
      guard raw >= 0 else { throw TestFailure(text: "raw socket: errno \(errno)") }
      return Endpoint(descriptor: SharedFD(OwnedFD(owning: raw)))
    }
  }

  /// The common header and an INIT chunk, with its checksum, without which connection tracking refuses it.
  static func initiation(from: UInt16, to: UInt16) -> [UInt8] {
    let ports = [UInt8(from >> 8), UInt8(from & 0xff), UInt8(to >> 8), UInt8(to & 0xff)]
    let chunk: [UInt8] = [1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9]
    let tag: [UInt8] = [0, 0, 0, 0]
    let checksum = withUnsafeBytes(of: crc32c(ports + tag + [0, 0, 0, 0] + chunk).littleEndian) { Array($0) }
    return ports + tag + checksum + chunk
  }

  /// RFC 9260, appendix A.
  private static func crc32c(_ bytes: [UInt8]) -> UInt32 {
    var sum = ~UInt32(0)
    for byte in bytes {
      sum ^= UInt32(byte)
      for _ in 0..<8 {
        let carry: UInt32 = sum & 1 == 0 ? 0 : 0x82f6_3b78
        sum = (sum >> 1) ^ carry
      }
    }
    return ~sum
  }
}
