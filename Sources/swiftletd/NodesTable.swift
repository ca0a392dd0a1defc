import NodeRegistry
import PodNetwork
import RuntimeModel

/// The tables below `[network]` that concern other nodes.
extension ConfigurationTable {
  /// `[network.vxlan]`.
  func tunnel() throws -> TunnelConfiguration {
    try allow(["vni", "port", "device", "udp_checksum"])
    var tunnel = TunnelConfiguration()
    if let vni = try integer("vni") {
      guard let number = UInt32(exactly: vni) else { throw failure("vni", "\(vni) is out of range") }
      tunnel.vni = number
    }
    if let port = try integer("port") {
      guard let number = UInt16(exactly: port) else { throw failure("port", "\(port) is out of range") }
      tunnel.port = number
    }
    tunnel.device = try string("device") ?? tunnel.device
    tunnel.udpChecksum = try boolean("udp_checksum") ?? tunnel.udpChecksum
    return tunnel
  }

  /// `[network.nodes]`.
  func nodeRegistry(stateDirectory: String) throws -> NodeRegistryConfiguration {
    try allow(["file", "etcd", "take_over", "keep_silent_seconds", "cidr_mask_size_ipv4", "cidr_mask_size_ipv6"])
    let (file, etcd) = (try string("file"), try table("etcd"))
    var registry: NodeRegistryConfiguration
    switch (file, etcd) {
    case (let file?, nil): registry = NodeRegistryConfiguration(source: .file(file))
    case (nil, let etcd?): registry = NodeRegistryConfiguration(source: .etcd(try etcd.etcd()))
    default: throw failure("file", "one of file and etcd must be given")
    }
    registry.takeOver = try boolean("take_over") ?? false
    if let seconds = try integer("keep_silent_seconds") {
      guard (0...86400).contains(seconds) else { throw failure("keep_silent_seconds", "is not within 0 and 86400") }
      registry.keepSilent = .seconds(seconds)
    }
    registry.maskSize4 = try integer("cidr_mask_size_ipv4") ?? registry.maskSize4
    registry.maskSize6 = try integer("cidr_mask_size_ipv6") ?? registry.maskSize6
    registry.stateDirectory = stateDirectory
    do throws(RegistryError) {
      try registry.validated()
    } catch {
      guard case .configuration(let key, let reason) = error else { throw error }
      throw failure(key, reason)
    }
    return registry
  }

  /// `[network.nodes.etcd]`.
  private func etcd() throws -> EtcdConfiguration {
    try allow(["endpoints", "prefix", "ca", "cert", "key", "lease_seconds"])
    var etcd = EtcdConfiguration(endpoints: try strings("endpoints") ?? [])
    etcd.prefix = try string("prefix") ?? etcd.prefix
    (etcd.ca, etcd.cert, etcd.key) = (try string("ca"), try string("cert"), try string("key"))
    etcd.leaseSeconds = try integer("lease_seconds") ?? etcd.leaseSeconds
    return etcd
  }
}
