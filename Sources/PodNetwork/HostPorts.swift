internal import CNetlink
internal import Glibc
internal import LinuxSystem
internal import Logging
internal import RuntimeModel

/// Host ports: elements of the maps, a bound socket each so that no process of the node takes the port, and no old
/// connection that goes elsewhere (`FlowSweeper`).
extension HostSide {
  /// What a request means for a sandbox with this lease.
  func published(_ ports: [HostPort], _ lease: AddressLease) throws(NetworkError) -> Set<PublishedPort> {
    try PublishedPort.all(ports, pod: addresses(lease), localhost: plan.configuration.hostPorts.localhost)
  }

  /// A5. On failure nothing of it is left.
  func publish(_ ports: Set<PublishedPort>, for sandbox: Identifier) throws(NetworkError) {
    guard !ports.isEmpty else { return }
    do throws(NetworkError) {
      if plan.configuration.hostPorts.reserve {
        for port in ports {
          if let socket = try Self.reserve(port) { reservations[sandbox, default: []].append(socket) }
        }
      }
      try allowLoopback()
      try Failpoint.attachPorts.pass("publish host ports of", "sandbox \(sandbox.short)")
      var batch = ElementBatch(table: plan.ruleTable)
      batch.add(Self.elements(ports))
      flows.expect(ports)
      try netfilter.transact(batch)
    } catch {
      reservations[sandbox] = nil
      flows.disappeared(ports)
      throw error
    }
    rules.published += ports
    Failpoint.attachConntrack.reach()
    flows.appeared(ports)
  }

  /// Never fails: what cannot be taken out piece by piece goes with the whole table's replacement.
  func withdraw(_ ports: Set<PublishedPort>, of sandbox: Identifier) {
    reservations[sandbox] = nil
    guard !ports.isEmpty else { return }
    rules.published.removeAll { ports.contains($0) }
    var batch = ElementBatch(table: plan.ruleTable)
    batch.remove(Self.elements(ports))
    do throws(NetworkError) {
      do throws(NetworkError) {
        try netfilter.transact(batch)
      } catch {
        _ = try replaceRules()
      }
    } catch {
      logger.error("host ports could not be withdrawn", metadata: ["error": "\(error)"])
    }
    Failpoint.detachConntrack.reach()
    flows.disappeared(ports)
  }

  /// Takes over what an earlier daemon published; a port that a process has taken meanwhile stays translated.
  func adopt(_ claims: PortClaims) throws(NetworkError) {
    flows.reconcile(published: claims.all)
    guard !claims.owners.isEmpty else { return }
    rules.published = claims.all
    try allowLoopback()
    guard plan.configuration.hostPorts.reserve else { return }
    for (sandbox, ports) in claims.owners {
      for port in ports {
        do throws(NetworkError) {
          if let socket = try Self.reserve(port) { reservations[sandbox, default: []].append(socket) }
        } catch {
          logger.warning("host port of a running pod is also a process's", metadata: ["error": "\(error)"])
        }
      }
    }
  }

  // Each once: the kernel refuses to remove one twice.
  private static func elements(_ ports: Set<PublishedPort>) -> [ElementBatch.Element] {
    Array(Set(ports.flatMap(\.elements)))
  }

  /// So that the node reaches pods by 127.0.0.1; chain `loopback` keeps pods from the node's own services.
  func allowLoopback() throws(NetworkError) {
    guard plan.ipv4 != nil, plan.configuration.hostPorts.localhost else { return }
    for name in bridgeNames { try set("ipv4/conf/\(name)/route_localnet", "1") }
  }

  /// A socket that is bound, but neither listens nor reads: another listener fails with EADDRINUSE.
  /// - Returns: nil where the kernel has no sockets of the protocol.
  private static func reserve(_ port: PublishedPort) throws(NetworkError) -> SharedFD? {
    let family = port.podAddress.family
    let kind = port.transport == .udp ? SOCK_DGRAM : SOCK_STREAM
    let number = Int32(port.transport == .sctp ? IPPROTO_SCTP : port.transport == .udp ? IPPROTO_UDP : IPPROTO_TCP)
    let raw = socket(family.number, Int32(kind.rawValue | SOCK_CLOEXEC.rawValue), number)
    // A kernel without SCTP sockets has nobody who could take the port.
    if raw < 0, port.transport == .sctp, [EPROTONOSUPPORT, ESOCKTNOSUPPORT].contains(errno) { return nil }
    guard raw >= 0 else { throw .kernel("reserve host port", errno, port.place) }
    let socket = OwnedFD(owning: raw)
    var one: Int32 = 1
    if family == .ipv6 { setsockopt(raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &one, 4) }
    // What is left of a listener that has ended (TIME_WAIT, a minute) is in nobody's way; one that listens still is. Once
    // we are bound, nobody else is let in on the same terms.
    let mayShare = port.transport == .tcp
    if mayShare { setsockopt(raw, SOL_SOCKET, SO_REUSEADDR, &one, 4) }
    let failed = bindSocket(raw, port.hostAddress ?? IPAddress(family, 0), port.hostPort)
    var zero: Int32 = 0
    if mayShare { setsockopt(raw, SOL_SOCKET, SO_REUSEADDR, &zero, 4) }
    if failed == EADDRINUSE { throw .hostPortTaken(port: port.place, owner: "a process of the node") }
    if failed == EADDRNOTAVAIL { throw .portUnusable("host port \(port.place) is on an address the node has not") }
    guard failed == 0 else { throw .kernel("reserve host port", failed, port.place) }
    return SharedFD(socket.outOfSelectRange())
  }

  private static func bindSocket(_ raw: Int32, _ address: IPAddress, _ port: UInt16) -> Int32 {
    var storage = sockaddr_storage()
    let length = withUnsafeMutableBytes(of: &storage) { bytes in
      bytes.storeBytes(of: UInt16(address.family.number), as: UInt16.self)
      bytes.storeBytes(of: port.bigEndian, toByteOffset: 2, as: UInt16.self)
      // sin_addr follows the port, sin6_addr the flow label (ip(7), ipv6(7)).
      let offset = address.family == .ipv4 ? 4 : 8
      for (index, byte) in address.bytes.enumerated() { bytes[offset + index] = byte }
      return address.family == .ipv4 ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size
    }
    let bound = withUnsafePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(raw, $0, socklen_t(length)) }
    }
    return bound == 0 ? 0 : errno
  }
}
