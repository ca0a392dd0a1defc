internal import Synchronization

/// What the network has done since `open` (NETWORK.md 14): a copy that does not change.
package struct NetworkCounters: Sendable, Equatable {
  /// What was put back after somebody else took it away: `podnet_repairs{kind}`.
  package internal(set) var repairs: [NetworkRepair.Kind: Int] = [:]
  /// How often the kernel was compared with what should be there, or a part of it: each minute, and after events.
  package internal(set) var looks = 0
  /// How often the kernel dropped events because we read too slowly: `podnet_enobufs`. Each caused a full compare.
  package internal(set) var droppedEvents = 0
  package internal(set) var attached = 0
  package internal(set) var detached = 0
  /// Sandboxes whose link vanished although nobody had stopped them.
  package internal(set) var lost = 0
  /// By `NetworkError.kind`: `podnet_attach_errors{kind}`.
  package internal(set) var attachErrors: [String: Int] = [:]
  /// Jobs that wait for the one thread that writes to the kernel, right now: `podnet_netlink_queue`.
  package internal(set) var queue = 0

  mutating func count(_ repairs: [NetworkRepair]) {
    for repair in repairs { self.repairs[repair.kind, default: 0] += 1 }
  }
}

/// Something that was not as it should be, and now is.
package struct NetworkRepair: Sendable, Equatable, CustomStringConvertible {
  package enum Kind: String, Sendable, CaseIterable {
    case bridge, address, port, route, rules, sysctl, peer, bandwidth
    /// A permanent neighbour of the bridge.
    case neighbour
    /// A static entry of a locked port.
    case forwardingEntry = "forwarding_entry"
    /// An accept rule in a foreign chain (`network.forward_accept`).
    case forwardAccept = "forward_accept"
  }

  package let kind: Kind
  /// What was done to what, for people.
  package let text: String

  package init(_ kind: Kind, _ text: String) {
    self.kind = kind
    self.text = text
  }

  package var description: String { text }
}

/// Something about the node that an administrator should know, as long as it is so.
package struct NetworkFinding: Sendable, Equatable {
  package enum Kind: String, Sendable, CaseIterable {
    /// Another program's chain at hook forward drops what it does not know.
    case forwardDrop = "forward_drop"
    /// `net.bridge.bridge-nf-call-*` is 1 and `network.bridge_nf_call` says to keep it.
    case bridgeNetfilter = "bridge_nf_call"
    /// Something could not be put back.
    case repairFailed = "repair_failed"
    /// The same things are taken away again and again.
    case contested
    /// A route of the node leads into a pod CIDR.
    case routeOverlap = "route_overlap"
  }

  package let kind: Kind
  /// The chain, the sysctl, the route.
  package let object: String
  /// Prose: what it is and what it does to pods.
  package let text: String

  package init(_ kind: Kind, object: String, _ text: String) {
    self.kind = kind
    self.object = object
    self.text = text
  }
}

extension PodNetwork {
  package var counters: NetworkCounters {
    var counters = tally.withLock { $0 }
    counters.queue = writer.waiting
    return counters
  }

  /// What is wrong with the node around the pod network, as of the last look.
  package func findings() -> [NetworkFinding] {
    watch.withLock { $0.findings.values.flatMap { $0 } }.sorted {
      ($0.kind.rawValue, $0.object) < ($1.kind.rawValue, $1.object)
    }
  }
}
