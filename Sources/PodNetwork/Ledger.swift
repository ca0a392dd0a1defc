internal import RuntimeModel

/// Who has which address and which link: what the daemon knows in memory. Pure: time is passed in.
struct Ledger: Sendable {
  /// A pod's place on the bridge.
  struct Port: Sendable, Equatable {
    var sandbox: Identifier
    var lease: AddressLease
    /// nil for a lease from another configuration.
    var number: UInt32?
    /// Interface index; nil once the link is gone.
    var index: Int32?
    /// When the sandbox gave it back; nil while it has it.
    var detachedAt: Duration?
  }

  /// How long a link may outlive its sandbox before we remove it ourselves: the kernel takes 25 ms, at 500 pods 300.
  static let patience = Duration.seconds(2)

  var allocator: AddressAllocator
  var claims = PortClaims()
  /// By the name of the host end.
  private(set) var ports: [String: Port] = [:]
  private var names: [Int32: String] = [:]
  /// Who had a number last, so that a second detach does not take it from the next.
  private var lastHolders: [UInt32: Identifier] = [:]

  init(allocator: AddressAllocator) { self.allocator = allocator }

  mutating func attached(_ sandbox: Identifier, _ lease: AddressLease, number: UInt32?, index: Int32?) {
    ports[lease.hostInterface] = Port(sandbox: sandbox, lease: lease, number: number, index: index)
    if let index { names[index] = lease.hostInterface }
  }

  /// What detach has to do.
  enum Release: Sendable, Equatable {
    /// Cut the link with this interface index off; nil when the link went before, and only its neighbours are left.
    case cut(index: Int32?)
    /// Nothing is there to cut, or it was done before.
    case nothing
  }

  mutating func detached(_ sandbox: Identifier, _ lease: AddressLease, number: UInt32?, at now: Duration) -> Release {
    guard let port = ports[lease.hostInterface] else {
      if let number, lastHolders[number] != sandbox {
        lastHolders[number] = sandbox
        free(number, at: now)
      }
      return .nothing
    }
    guard port.sandbox == sandbox, port.detachedAt == nil else { return .nothing }
    if let number { lastHolders[number] = sandbox }
    guard let index = port.index else {
      ports[lease.hostInterface] = nil
      if let number { free(number, at: now) }
      return .cut(index: nil)
    }
    ports[lease.hostInterface]?.detachedAt = now
    if let number { allocator.release(number) }
    return .cut(index: index)
  }

  /// A lease without a link goes back.
  mutating func gaveBack(_ lease: AddressLease, number: UInt32, at now: Duration) {
    if ports[lease.hostInterface] == nil { free(number, at: now) }
  }

  /// The kernel has removed a link.
  /// - Returns: the sandbox that still wanted it.
  mutating func linkGone(_ index: Int32, at now: Duration) -> Identifier? {
    guard let name = names.removeValue(forKey: index), let port = ports[name], port.index == index else { return nil }
    guard port.detachedAt != nil else {
      ports[name]?.index = nil
      return port.sandbox
    }
    ports[name] = nil
    if let number = port.number { allocator.linkGone(number, at: now) }
    return nil
  }

  var indexes: Set<Int32> { Set(names.keys) }

  /// Links that should be gone by now.
  func overdue(at now: Duration) -> [Int32] {
    ports.values.filter { port in port.detachedAt.map { $0 + Self.patience <= now } ?? false }.compactMap(\.index)
  }

  /// When `overdue` is worth asking next; nil: not until something is detached.
  var nextDeadline: Duration? {
    ports.values.filter { $0.index != nil }.compactMap(\.detachedAt).min().map { $0 + Self.patience }
  }

  /// Sandboxes that have a place on the bridge.
  var live: [Identifier: AddressLease] {
    var live: [Identifier: AddressLease] = [:]
    for port in ports.values where port.detachedAt == nil { live[port.sandbox] = port.lease }
    return live
  }

  private mutating func free(_ number: UInt32, at now: Duration) {
    allocator.release(number)
    allocator.linkGone(number, at: now)
  }
}
