/// The `[network.vxlan]` table.
package struct TunnelConfiguration: Sendable, Hashable {
  /// VXLAN network identifier, the same on all nodes.
  package var vni: UInt32 = 1
  /// UDP port, the same on all nodes.
  package var port: UInt16 = 4789
  package var device = "podvx0"
  /// Whether the outer UDP header over IPv4 has a checksum; the inner packets have theirs.
  package var udpChecksum = false

  /// The defaults.
  package init() {}
}

extension NetworkConfiguration.Backend {
  /// Whether a tunnel interface is needed.
  var hasTunnel: Bool { self == .vxlan || self == .auto }
  var hasHostGateway: Bool { self == .hostGateway || self == .auto }
}
