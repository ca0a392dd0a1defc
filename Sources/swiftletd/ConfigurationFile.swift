import CDI
import CNI
import CRIServer
import Glibc
import ImageStore
import Logging
import NodeRegistry
import PodNetwork
import RuntimeModel
import TOMLKit

/// The configuration file: TOML, every key known, every value checked. The command line wins over it.
struct ConfigurationFile {
  private let table: ConfigurationTable
  let logLevel: Logger.Level

  private static let keys: Set<String> = [
    "root", "state", "socket", "cgroup_parent", "log_level", "network", "registries", "cdi_spec_dirs",
    "device_ownership_from_security_context", "containers", "streaming",
  ]
  private static let networkKeys: Set<String> = [
    "bridge", "pod_cidrs", "cluster_cidrs", "non_masquerade_cidrs", "mtu", "masquerade", "addressing",
    "backend", "bridge_nf_call", "forward_accept", "group_id", "interface_prefix", "pool", "underlay", "vxlan",
    "node_name", "nodes", "provider", "cni", "masquerade6", "source_ips", "isolation", "internal", "direct_access",
    "host_ports",
  ]
  private static let pluginKeys: Set<String> = ["conf_dir", "bin_dirs", "cache_dir"]
  private static let hostPortKeys: Set<String> = ["reserve", "localhost"]
  private static let registryKeys: Set<String> = ["insecure"]

  /// - Parameter path: nil means no file.
  /// - Throws: `RuntimeError` with file, line and column.
  init(path: String?) throws {
    table = try ConfigurationTable(path: path)
    try table.allow(Self.keys)
    try table.table("network")?.allow(Self.networkKeys)
    try table.table("registries")?.allow(Self.registryKeys)
    let level = try table.string("log_level") ?? "info"
    guard let known = Logger.Level(rawValue: level) else {
      throw table.failure("log_level", "\"\(level)\" is not one of \(Logger.Level.allCases.map(\.rawValue))")
    }
    logLevel = known
  }

  func daemonConfiguration(root: String?, state: String?, socket: String?) throws -> DaemonConfiguration {
    let state = try state ?? table.string("state") ?? "/run/swiftlet"
    let root = try root ?? table.string("root") ?? "/var/lib/swiftlet"
    for (name, path) in [("root", root), ("state", state)] where !path.hasPrefix("/") {
      throw RuntimeError(.invalidArgument, "\(name): \"\(path)\" is not absolute")
    }
    let binaries = try Self.binaryDirectory()
    var configuration = DaemonConfiguration(
      root: root, state: state, socket: try socket ?? table.string("socket") ?? "\(state)/swiftlet.sock",
      cgroupParent: try table.string("cgroup_parent") ?? "/swiftlet", shimPath: "\(binaries)/swiftlet-shim",
      pausePath: "\(binaries)/swiftlet-pause", network: try network(root: root),
      cni: try plugins(root: root, state: state), registries: try registries(),
      nodeName: try table.table("network")?.string("node_name"), registry: try nodes(root: root))
    configuration.ownsDevices = try table.boolean("device_ownership_from_security_context") ?? false
    if let paths = try table.strings("cdi_spec_dirs") {
      guard paths.allSatisfy({ $0.hasPrefix("/") && !$0.utf8.contains(0) }) else {
        throw table.failure("cdi_spec_dirs", "\(paths) are not absolute paths")
      }
      configuration.deviceSpecs = SpecDirectories(paths)
    }
    try table.table("containers")?.readContainers(into: &configuration)
    try table.table("streaming")?.readStreaming(into: &configuration.streaming)
    return configuration
  }

  private func network(root: String) throws -> NetworkConfiguration {
    var network = NetworkConfiguration()
    network.stateDirectory = "\(root)/net"
    guard let table = try table.table("network") else { return network }
    network.bridge = try table.string("bridge") ?? network.bridge
    network.podCIDRs = try table.strings("pod_cidrs") ?? network.podCIDRs
    // From the node registry, or from kubelet.
    if network.podCIDRs == ["auto"] { network.podCIDRs = [] }
    network.clusterCIDRs = try table.strings("cluster_cidrs") ?? network.clusterCIDRs
    network.nonMasqueradeCIDRs = try table.strings("non_masquerade_cidrs") ?? []
    network.mtu = try table.integer("mtu")
    network.masquerade = try table.boolean("masquerade") ?? true
    network.masquerade6 = try table.boolean("masquerade6")
    network.sourceIPs = try table.strings("source_ips") ?? []
    network.isolation = try table.choice("isolation") ?? network.isolation
    network.isInternal = try table.boolean("internal") ?? false
    network.directAccess = try table.choice("direct_access") ?? network.directAccess
    if let ports = try table.table("host_ports") {
      try ports.allow(Self.hostPortKeys)
      network.hostPorts.reserve = try ports.boolean("reserve") ?? true
      network.hostPorts.localhost = try ports.boolean("localhost") ?? true
    }
    network.interfacePrefix = try table.string("interface_prefix") ?? network.interfacePrefix
    if let group = try table.integer("group_id") {
      guard let number = UInt32(exactly: group) else { throw table.failure("group_id", "\(group) is out of range") }
      network.groupID = number
    }
    network.addressing = try table.choice("addressing") ?? network.addressing
    network.backend = try table.choice("backend") ?? network.backend
    network.pool = try table.integer("pool") ?? network.pool
    network.bridgeNfCall = try table.choice("bridge_nf_call") ?? network.bridgeNfCall
    network.underlay = try table.string("underlay")
    if let vxlan = try table.table("vxlan") { network.vxlan = try vxlan.tunnel() }
    network.forwardAccept = try table.choice("forward_accept") ?? network.forwardAccept
    do throws(NetworkError) {
      try network.validated(awaitsPodCIDRs: true)
    } catch {
      guard case .configuration(let key, let reason) = error else { throw error }
      throw table.failure(key, reason)
    }
    return network
  }

  private func nodes(root: String) throws -> NodeRegistryConfiguration? {
    guard let network = try table.table("network"), let nodes = try network.table("nodes") else { return nil }
    guard let backend: NetworkConfiguration.Backend = try network.choice("backend"), backend != .none else {
      throw network.failure("nodes", "other nodes are reached by no network.backend: host-gw, vxlan or auto")
    }
    if let name = try network.string("node_name"), !NodeRecord.isName(name) {
      throw network.failure("node_name", "\"\(name)\" is not 1 to 253 letters, digits, -, _ or .")
    }
    return try nodes.nodeRegistry(stateDirectory: "\(root)/net")
  }

  /// - Returns: nil where our own bridge makes the network.
  private func plugins(root: String, state: String) throws -> CNIConfiguration? {
    guard let network = try table.table("network") else { return nil }
    let table = try network.table("cni")
    try table?.allow(Self.pluginKeys)
    guard try network.choice("provider") ?? NetworkProviderName.bridge == .cni else {
      if table != nil { throw network.failure("cni", "is set, but provider is not \"cni\"") }
      return nil
    }
    try network.allow(["provider", "cni"], because: "with provider \"cni\" the bridge's keys have no effect")
    var plugins = CNIConfiguration()
    plugins.configurationDirectory = try table?.string("conf_dir") ?? plugins.configurationDirectory
    plugins.pluginDirectories = try table?.strings("bin_dirs") ?? plugins.pluginDirectories
    plugins.cacheDirectory = try table?.string("cache_dir") ?? "\(root)/cni"
    plugins.namespaceDirectory = "\(state)/netns"
    if let (key, reason) = plugins.problem() { throw (table ?? network).failure(key, reason) }
    return plugins
  }

  private enum NetworkProviderName: String, CaseIterable { case bridge, cni }

  private func registries() throws -> RegistryConfiguration {
    var registries = RegistryConfiguration()
    if let table = try table.table("registries") {
      registries.insecure = Set(try table.strings("insecure") ?? [])
    }
    return registries
  }

  /// Shim and pause lie beside the daemon's own binary.
  private static func binaryDirectory() throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &buffer, buffer.count)
    guard length > 0 else { throw RuntimeError(.internalError, "/proc/self/exe cannot be read") }
    let path = String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
  }
}
