internal import RuntimeModel

/// Which sandbox has which ports of the node. Pure.
struct PortClaims: Sendable {
  private(set) var owners: [Identifier: Set<PublishedPort>] = [:]

  /// All or none.
  /// - Throws: `hostPortTaken` naming the sandbox that has one of them.
  mutating func claim(_ ports: Set<PublishedPort>, for sandbox: Identifier) throws(NetworkError) {
    for port in ports {
      for (owner, taken) in owners {
        guard let other = taken.first(where: port.collides) else { continue }
        // A second attach of the same sandbox changes nothing.
        if owner == sandbox && other == port { continue }
        throw .hostPortTaken(port: port.place, owner: "sandbox \(owner.short)")
      }
      if let twin = ports.first(where: { $0 != port && port.collides($0) }) {
        throw .hostPortTaken(port: port.place, owner: "the same sandbox, for its port \(twin.podPort)")
      }
    }
    if !ports.isEmpty { owners[sandbox, default: []].formUnion(ports) }
  }

  /// - Returns: what it had.
  mutating func release(_ sandbox: Identifier) -> Set<PublishedPort> { owners.removeValue(forKey: sandbox) ?? [] }

  var all: [PublishedPort] { owners.values.flatMap { $0 } }
}

/// One host port of one address family, ready for the maps.
struct PublishedPort: Sendable, Hashable {
  var transport: HostPort.TransportProtocol
  var hostPort: UInt16
  /// nil: every address of the node.
  var hostAddress: IPAddress?
  var podAddress: IPAddress
  var podPort: UInt16

  /// `key : value` as the map holds it.
  var element: String { "\(key) : \(podAddress) . \(podPort)" }

  /// The same for a batch, with the pod's hairpin element, which all of its ports share.
  var elements: [ElementBatch.Element] {
    let address = podAddress.bytes
    let key = (hostAddress?.bytes ?? []) + [transport.number, 0, 0, 0] + Self.word(hostPort)
    return [
      .init(set: map, key: key, value: address + Self.word(podPort)),
      .init(set: "hairpin\(podAddress.family.digit)", key: address + address, value: nil),
    ]
  }

  private static func word(_ port: UInt16) -> [UInt8] { [UInt8(port >> 8), UInt8(port & 0xff), 0, 0] }

  var key: String { (hostAddress.map { "\($0) . " } ?? "") + "\(transport.rawValue) . \(hostPort)" }

  var map: String { (hostAddress == nil ? "port" : "portip") + podAddress.family.digit }

  /// For people: `tcp 0.0.0.0:8080`.
  var place: String {
    let any = podAddress.family == .ipv4 ? "0.0.0.0" : "[::]"
    return "\(transport.rawValue) \(hostAddress.map { $0.family == .ipv6 ? "[\($0)]" : "\($0)" } ?? any):\(hostPort)"
  }

  func collides(_ other: PublishedPort) -> Bool {
    transport == other.transport && hostPort == other.hostPort && podAddress.family == other.podAddress.family
      && (hostAddress == nil || other.hostAddress == nil || hostAddress == other.hostAddress)
  }

  /// What a request means for a pod with these addresses: one entry per family. Host port 0 means none (CRI).
  /// - Parameter localhost: whether loopback addresses lead to pods.
  /// - Throws: `portUnusable` in words of the request.
  static func all(
    _ ports: [HostPort], pod: [IPAddress], localhost: Bool = true
  ) throws(NetworkError) -> Set<PublishedPort> {
    var all: Set<PublishedPort> = []
    for port in ports where port.hostPort != 0 {
      guard port.containerPort != 0 else { throw .portUnusable("host port \(port.hostPort) has container port 0") }
      let asked = try hostAddress(port)
      if let asked, !localhost, loopback.contains(asked) {
        throw .portUnusable("host port \(port.hostPort) is for \(asked), and network.host_ports.localhost is false")
      }
      let families = pod.filter { asked == nil || $0.family == asked?.family }
      guard !families.isEmpty else {
        throw .portUnusable("host port \(port.hostPort) is for \(port.hostIP ?? ""), a family that the pod has not")
      }
      for address in families {
        all.insert(
          PublishedPort(
            transport: port.transport, hostPort: port.hostPort, hostAddress: asked?.value == 0 ? nil : asked,
            podAddress: address, podPort: port.containerPort))
      }
    }
    return all
  }

  private static let loopback = AddressBlock(IPAddress(.ipv4, 127 << 24), prefix: 8)

  private static func hostAddress(_ port: HostPort) throws(NetworkError) -> IPAddress? {
    guard let text = port.hostIP, !text.isEmpty else { return nil }
    guard let address = IPAddress(text) else {
      throw .portUnusable("host port \(port.hostPort) has host IP \"\(text)\", which is no address")
    }
    if address == IPAddress(.ipv6, 1) {
      throw .portUnusable("host port \(port.hostPort) cannot be on ::1: the kernel translates no IPv6 loopback")
    }
    return address
  }
}
