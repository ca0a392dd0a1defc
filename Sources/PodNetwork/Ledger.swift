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
    /// Number of its bridge.
    var bridge: Int
    /// When the sandbox gave it back; nil while it has it.
    var detachedAt: Duration?
  }

  /// How long a link may outlive its sandbox before we remove it ourselves: the kernel takes 25 ms, at 500 pods 300.
  static let patience = Duration.seconds(2)

  var allocator: AddressAllocator
  var claims = PortClaims()
  var pool = WarmPool()
  /// By the name of the host end.
  private(set) var ports: [String: Port] = [:]
  /// How many ports each bridge has, by its number.
  private(set) var portCounts: [Int: Int] = [:]
  private var names: [Int32: String] = [:]
  /// Who had a number last, so that a second detach does not take it from the next.
  private var lastHolders: [UInt32: Identifier] = [:]

  /// Shaping device of a pod's host end, by interface index.
  private var shapers: [Int32: Int32] = [:]
  /// Those whose host end is gone.
  private var idleShapers: [Int32] = []

  init(allocator: AddressAllocator) { self.allocator = allocator }

  /// - Parameter link: nil where it is gone.
  mutating func attached(_ sandbox: Identifier, _ lease: AddressLease, number: UInt32?, link: PodLink?) {
    let port = Port(
      sandbox: sandbox, lease: lease, number: number, index: link?.index, bridge: link?.bridge ?? 0)
    put(port, at: lease.hostInterface)
  }

  /// A repair has found sandboxes' links where they are now.
  mutating func found(_ links: [Identifier: PodLink]) {
    for (name, port) in ports {
      guard let link = links[port.sandbox], port.index == link.index, port.bridge != link.bridge else { continue }
      var port = port
      port.bridge = link.bridge
      put(port, at: name)
    }
  }

  mutating func put(_ port: Port?, at name: String) {
    if let before = ports[name], let index = before.index {
      names[index] = nil
      portCounts[before.bridge, default: 0] -= 1
    }
    ports[name] = port
    if let port, let index = port.index {
      names[index] = name
      portCounts[port.bridge, default: 0] += 1
    }
  }

  mutating func shaped(_ index: Int32, by shaper: Int32) { shapers[index] = shaper }

  mutating func takeIdleShapers() -> [Int32] {
    defer { idleShapers = [] }
    return idleShapers
  }

  var hasIdleShapers: Bool { !idleShapers.isEmpty }

  /// What detach has to do.
  enum Release: Sendable, Equatable {
    /// Cut the link with this interface index off; nil when the link went before, and only its neighbours are left, on
    /// the bridge with this number.
    case cut(index: Int32?, bridge: Int)
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
      put(nil, at: lease.hostInterface)
      if let number { free(number, at: now) }
      return .cut(index: nil, bridge: port.bridge)
    }
    ports[lease.hostInterface]?.detachedAt = now
    if let number { allocator.release(number) }
    return .cut(index: index, bridge: port.bridge)
  }

  /// A lease without a link goes back.
  mutating func gaveBack(_ lease: AddressLease, number: UInt32, at now: Duration) {
    if ports[lease.hostInterface] == nil { free(number, at: now) }
  }

  /// The kernel has removed a link.
  /// - Returns: the sandbox that still wanted it.
  mutating func linkGone(_ index: Int32, at now: Duration) -> Identifier? {
    if let shaper = shapers.removeValue(forKey: index) { idleShapers.append(shaper) }
    if spareLinkGone(index, at: now) { return nil }
    guard let name = names[index], var port = ports[name] else { return nil }
    guard port.detachedAt != nil else {
      port.index = nil
      put(port, at: name)
      return port.sandbox
    }
    put(nil, at: name)
    if let number = port.number { allocator.linkGone(number, at: now) }
    return nil
  }

  var indexes: Set<Int32> { Set(names.keys).union(spareIndexes) }

  /// Links that should be gone by now.
  func overdue(at now: Duration) -> [Int32] {
    ports.values.filter { port in port.detachedAt.map { $0 + Self.patience <= now } ?? false }.compactMap(\.index)
      + pool.dropped.filter { $0.value.at + Self.patience <= now }.map(\.key)
  }

  /// Gives those another `patience`.
  mutating func postpone(_ indexes: [Int32], at now: Duration) {
    for name in indexes.compactMap({ names[$0] }) where ports[name]?.detachedAt != nil { ports[name]?.detachedAt = now }
    for index in indexes { pool.dropped[index]?.at = now }
  }

  /// When `overdue` is worth asking next; nil: not until something is detached.
  var nextDeadline: Duration? {
    let leaving = ports.values.filter { $0.index != nil }.compactMap(\.detachedAt).min()
    return [leaving, pool.dropped.values.map(\.at).min()].compactMap { $0 }.min().map { $0 + Self.patience }
  }

  /// Sandboxes that have a place on the bridge.
  var live: [Identifier: AddressLease] {
    var live: [Identifier: AddressLease] = [:]
    for port in ports.values where port.detachedAt == nil { live[port.sandbox] = port.lease }
    return live
  }

  /// The live sandbox whose host end has this interface index.
  func livePort(index: Int32) -> Port? { names[index].flatMap { livePort(named: $0) } }

  /// The live sandbox whose host end has this name.
  func livePort(named name: String) -> Port? {
    ports[name].flatMap { $0.detachedAt == nil ? $0 : nil }
  }

  mutating func free(_ number: UInt32, at now: Duration) {
    // A spare pod that was reserved has a link, which goes first.
    if let spare = pool.taken.removeValue(forKey: number) { return drop(number, spare.link, at: now) }
    allocator.release(number)
    allocator.linkGone(number, at: now)
  }

  mutating func count(_ link: PodLink, _ change: Int) { portCounts[link.bridge, default: 0] += change }
}
