package import RuntimeModel

/// The pod network at one moment: what the kernel shows, beside what we remember. Asking changes nothing.
package struct NetworkOverview: Sendable {
  /// The node's way out of the cluster; nil: it has no default route.
  package var uplink: Uplink?
  /// The first one is that of the configuration; it is there with index 0 when the kernel has lost it.
  package var bridges: [Bridge] = []
  /// By sandbox, in no order.
  package var attachments: [Identifier: AttachmentStatus] = [:]
  package var blocks: [Block] = []
  /// Destinations that pods reach under their own address, in CIDR form.
  package var directCIDRs: [String] = []
  package var isMasquerading = false
  /// The interface that leads to other nodes' pods; nil: there is none.
  package var tunnel: Tunnel?
  /// Destinations of the routes that we have to other nodes' pods, in CIDR form.
  package var peerRoutes: Set<String> = []
  /// The warm pool: how many wait for a sandbox, and how many there are to be.
  package var pool: (ready: Int, wanted: Int) = (0, 0)
  package var metrics: [NetworkMetric] = []

  /// A VXLAN interface of ours.
  package struct Tunnel: Sendable, Equatable {
    package var name: String
    package var identifier: UInt32
    package var port: UInt16
    package var mtu: UInt32
    package var mac: String
    package var isUp: Bool
    /// With prefix.
    package var addresses: [String]
    /// As this node sees it.
    package var traffic: LinkTraffic
  }

  /// The interface of the default route.
  package struct Uplink: Sendable, Equatable {
    package var name: String
    /// Without prefix, IPv4 first; no link-local ones.
    package var addresses: [String]
    package var mtu: UInt32
  }

  package struct Bridge: Sendable, Equatable {
    /// What the kernel allows (BR_MAX_PORTS - 1).
    package static let portLimit: UInt32 = 1023

    package var name: String
    /// Interface index; 0: it is gone.
    package var index: Int32
    package var mtu: UInt32 = 0
    package var mac = ""
    package var isUp = false
    /// With prefix.
    package var addresses: [String] = []
    /// Links in it, whoever's.
    package var ports: UInt32 = 0
  }

  /// How full one pod CIDR is, in addresses.
  package struct Block: Sendable, Equatable {
    package var cidr: String
    /// That pods can have.
    package var size: UInt64
    /// By sandboxes, and on the way back from them.
    package var used: UInt64
    /// Given back, and resting before they are used again.
    package var resting: UInt64
    /// The kernel has a link of ours for it, and no sandbox has the address.
    package var leaked: UInt64
  }
}

/// One sandbox's place on the network, from its lease and from the kernel.
package struct AttachmentStatus: Sendable, Equatable {
  package enum LeaseState: String, Sendable, Equatable {
    /// The sandbox has it.
    case bound
    /// The sandbox gave it back; the kernel has not removed the link yet.
    case releasing
    /// The sandbox has it, but its link is gone: the namespace died.
    case lost
  }

  package var lease: AddressLease
  package var gateway: String
  package var state: LeaseState
  /// Interface index of the host end; 0: the kernel has no such link.
  package var hostIndex: Int32 = 0
  /// Name of the bridge it is in; empty: in none.
  package var bridge = ""
  /// `up`, `down`, `no carrier` or `missing`.
  package var linkState = "missing"
  package var mtu: UInt32 = 0
  /// As the pod sees it.
  package var traffic = LinkTraffic()
  /// What the kernel shows otherwise than we left it, for people.
  package var drift: [String] = []
}

/// An interface's counters (rtnl_link_stats64 of if_link.h).
package struct LinkTraffic: Sendable, Equatable {
  package var receivedPackets: UInt64 = 0
  package var sentPackets: UInt64 = 0
  package var receivedBytes: UInt64 = 0
  package var sentBytes: UInt64 = 0
  package var receivedDropped: UInt64 = 0
  package var sentDropped: UInt64 = 0

  /// As the other end of a pair sees it.
  var reversed: LinkTraffic {
    LinkTraffic(
      receivedPackets: sentPackets, sentPackets: receivedPackets, receivedBytes: sentBytes, sentBytes: receivedBytes,
      receivedDropped: sentDropped, sentDropped: receivedDropped)
  }
}

/// One sample, by the name that Prometheus would know it by.
package struct NetworkMetric: Sendable, Equatable {
  package enum Kind: String, Sendable, Equatable { case counter, gauge }

  package var name: String
  package var labels: [String: String]
  package var value: Double
  package var kind: Kind
  /// What it counts, in a few words.
  package var help: String

  package init(_ name: String, _ kind: Kind, _ help: String, labels: [String: String] = [:], _ value: Double) {
    self.name = name
    self.kind = kind
    self.help = help
    self.labels = labels
    self.value = value
  }
}
