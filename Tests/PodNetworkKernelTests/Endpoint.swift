import CNetlink
import Glibc
import LinuxSystem
import RuntimeModel
import Testing

@testable import PodNetwork

/// A UDP or TCP socket that was made inside a namespace; it stays there, whoever uses it.
struct Endpoint: Sendable {
  enum Kind: Sendable { case udp, tcp }

  let descriptor: SharedFD

  /// - Parameter namespace: nil: the test's own, which plays the node.
  static func make(
    _ namespace: SharedFD?, _ kind: Kind = .udp, bind address: String? = nil, port: UInt16 = 0,
    family: AddressFamily = .ipv4
  ) async throws -> Endpoint {
    let make: @Sendable () throws -> Endpoint = {
      let local = address.flatMap { IPAddress($0) } ?? IPAddress(family, 0)
      let raw = socket(
        local.family.number, Int32((kind == .tcp ? SOCK_STREAM : SOCK_DGRAM).rawValue | SOCK_CLOEXEC.rawValue), 0)
      guard raw >= 0 else { throw TestFailure(text: "socket: errno \(errno)") }
      let endpoint = Endpoint(descriptor: SharedFD(OwnedFD(owning: raw)))
      var one: Int32 = 1
      setsockopt(raw, SOL_SOCKET, SO_REUSEADDR, &one, 4)
      guard withAddress(local, port, { bind(raw, $0, $1) }) == 0 else {
        throw TestFailure(text: "bind \(local): errno \(errno)")
      }
      if kind == .tcp && port != 0 { listen(raw, 8) }
      return endpoint
    }
    guard let namespace else { return try make() }
    return try await KernelRoom.inside(namespace, make)
  }

  /// - Returns: 0 or an errno.
  func send(_ text: String, to address: String, _ port: UInt16) -> Int32 {
    guard let target = IPAddress(address) else { return EINVAL }
    let bytes = Array(text.utf8)
    let sent = Self.withAddress(target, port) { sendto(descriptor.raw, bytes, bytes.count, 0, $0, $1) }
    return sent == bytes.count ? 0 : errno
  }

  /// Waits for a datagram.
  /// - Returns: its text and the sender's address; nil when none came in time.
  func receive(milliseconds: Int32 = 2000) -> (text: String, from: String, port: UInt16)? {
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

  /// - Returns: 0, or the errno that the connection ended with.
  func connect(to address: String, _ port: UInt16, milliseconds: Int32 = 2000) -> Int32 {
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
  func acceptedPeer(milliseconds: Int32 = 2000) -> String? {
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
    let link = try routes.link(named: "outside0")
    try routes.run { batch throws(NetworkError) in
      try batch.add("set up", "outside0", RouteMessage.change(link?.index ?? 0, up: true))
      try batch.add(
        "address", "outside0",
        RouteMessage.address(link?.index ?? 0, IPAddress(.ipv4, 0xc000_0201), prefix: 24))
      try batch.add("set up", "lo", RouteMessage.change(1, up: true))
    }
    try made.routes.run { batch throws(NetworkError) in
      try batch.add("set up", "eth0", RouteMessage.change(2, up: true))
      try batch.add("address", "eth0", RouteMessage.address(2, IPAddress(.ipv4, 0xc000_0202), prefix: 24))
      try batch.add("route", "eth0", RouteMessage.defaultRoute(2, IPAddress(.ipv4, 0xc000_0201)))
    }
    namespace = made.descriptor
    // The kernel takes note of the carrier in its own time, and drops packets until then.
    try await KernelRoom.eventually("the wire is up") { try routes.link(named: "outside0")?.isRunning == true }
  }

  /// The wire goes at once, so that the next test finds none.
  func remove() throws {
    let routes = try NetlinkSocket(family: NETLINK_ROUTE)
    guard let link = try routes.link(named: "outside0") else { return }
    try routes.run { batch throws(NetworkError) in try batch.add("remove", "outside0", RouteMessage.delete(link.index))
    }
  }
}
