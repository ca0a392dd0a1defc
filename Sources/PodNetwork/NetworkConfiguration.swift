/// The `[network]` table of the configuration file (NETWORK.md 3); the defaults work with no file.
package struct NetworkConfiguration: Sendable, Hashable {
  /// How pods of one node reach each other.
  package enum Addressing: String, Sendable, Hashable, CaseIterable {
    /// A pod holds /32 and /128; everything goes through the bridge's address. No broadcast between pods.
    case routed
    /// Pods share one layer-2 network.
    case switched
  }

  /// What to do about `net.bridge.bridge-nf-call-*tables`.
  package enum BridgeNfCall: String, Sendable, Hashable, CaseIterable {
    /// Write 0 and say so.
    case off
    /// Leave it.
    case keep
  }

  /// At most 12 characters, so that overflow bridges `-1`, `-2` have room.
  package var bridge = "podbr0"
  /// At most one of each family. The first address of each is the bridge's.
  package var podCIDRs = ["10.244.1.0/24", "fd44:1::/64"]
  /// Destinations that pods reach with their own address.
  package var clusterCIDRs = ["10.244.0.0/16", "fd44::/16"]
  /// Further destinations without address translation.
  package var nonMasqueradeCIDRs: [String] = []
  /// nil: that of the default route's interface, else 1500.
  package var mtu: Int?
  package var masquerade = true
  package var addressing = Addressing.routed
  package var bridgeNfCall = BridgeNfCall.off
  /// IFLA_GROUP of the pods' host ends; our mark on them.
  package var groupID: UInt32 = 4242
  /// Host ends are named by this and 8 hexadecimal digits.
  package var interfacePrefix = "pod"
  /// A directory where the address cursor survives a restart; nil: the search starts above the highest live address.
  package var stateDirectory: String?

  package init() {}

  /// - Throws: `NetworkError.configuration` naming the first key whose value cannot work.
  package func validated() throws(NetworkError) {
    throw .unimplemented("validation")
  }
}
