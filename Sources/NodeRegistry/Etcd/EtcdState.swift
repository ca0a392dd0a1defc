internal import FoundationEssentials
internal import RuntimeModel

/// Where things are in the store.
struct EtcdKeys: Sendable {
  var prefix: String

  var all: String { prefix + "/" }
  func node(_ name: String) -> String { prefix + "/nodes/" + name }
  func live(_ name: String) -> String { prefix + "/live/" + name }
  func subnet(_ block: String) -> String {
    prefix + "/subnets/" + String(block.map { $0 == "/" ? "-" : $0 })
  }

  enum Place: Hashable {
    case node(String), live(String), subnet(String)
  }

  func place(_ key: String) -> Place? {
    guard key.hasPrefix(all) else { return nil }
    let parts = key.dropFirst(all.count).split(separator: "/", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { return nil }
    switch parts[0] {
    case "nodes": return .node(parts[1])
    case "live": return .live(parts[1])
    case "subnets":
      return .subnet(
        parts[1].reversed().split(separator: "-", maxSplits: 1).map { part in
          String(part.reversed())
        }.reversed().joined(separator: "/"))
    default: return nil
    }
  }
}

/// All keys of the store that concern us, and since when nodes are silent. Pure: time is passed in.
struct EtcdState: Sendable {
  let keys: EtcdKeys
  private(set) var nodes: [String: EtcdPair] = [:]
  private(set) var live: Set<String> = []
  /// Owner by block.
  private(set) var subnets: [String: EtcdPair] = [:]
  private(set) var revision: Int64 = 0
  private var silentSince: [String: ContinuousClock.Instant] = [:]

  init(keys: EtcdKeys) { self.keys = keys }

  /// - Parameter known: names of nodes that are reached now: those stay for a while when they are silent, others do not
  ///   come in before they speak.
  mutating func replace(_ listing: EtcdListing, known: Set<String>, at now: ContinuousClock.Instant) {
    (nodes, live, subnets) = ([:], [], [:])
    for pair in listing.pairs { put(pair) }
    revision = listing.revision
    settle(known: known, at: now)
  }

  mutating func apply(_ changes: [EtcdChange], at now: ContinuousClock.Instant) {
    let known = Set(nodes.keys)
    for change in changes {
      revision = max(revision, change.revision)
      if let value = change.value {
        put(EtcdPair(key: change.key, value: value, revision: change.revision))
      } else {
        switch keys.place(change.key) {
        case .node(let name): nodes[name] = nil
        case .live(let name): live.remove(name)
        case .subnet(let block): subnets[block] = nil
        case nil: break
        }
      }
    }
    settle(known: known, at: now)
  }

  private mutating func put(_ pair: EtcdPair) {
    switch keys.place(pair.key) {
    case .node(let name): nodes[name] = pair
    case .live(let name): live.insert(name)
    case .subnet(let block): subnets[block] = pair
    case nil: break
    }
  }

  private mutating func settle(known: Set<String>, at now: ContinuousClock.Instant) {
    silentSince = silentSince.filter { nodes[$0.key] != nil && !live.contains($0.key) }
    for name in nodes.keys where !live.contains(name) && silentSince[name] == nil {
      silentSince[name] = known.contains(name) ? now : now - .seconds(1 << 30)
    }
  }

  func record(_ name: String) -> NodeRecord? {
    nodes[name].flatMap { try? JSONDecoder().decode(NodeRecord.self, from: Data($0.value.utf8)) }
  }

  /// - Returns: without nodes that have been silent for longer than `keep`, and without records that cannot be read.
  func view(own: String, keep: Duration, at now: ContinuousClock.Instant) -> RegistryView {
    var view = RegistryView(revision: revision)
    for name in nodes.keys.sorted() {
      let silence = silentSince[name].map { now - $0 }
      guard name == own || (silence ?? .zero) < keep else { continue }
      guard let record = record(name), record.name == name else {
        view.unreadable.insert(name)
        continue
      }
      view.nodes.append(record)
      if silence != nil && name != own { view.silent.insert(name) }
    }
    return view
  }
}
