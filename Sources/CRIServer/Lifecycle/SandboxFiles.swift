import CRIProtocol
import LinuxSystem
import RuntimeModel

/// The files of a sandbox that its containers see: hosts, hostname, resolv.conf; in our own directory, never in a root
/// file system (ATTACKS L14).
struct SandboxFiles: Sendable {
  let directory: String

  var hosts: String { directory + "/hosts" }
  var hostname: String { directory + "/hostname" }
  var resolvConf: String { directory + "/resolv.conf" }
  /// Empty; containers mount their root on it, each in its own mount namespace.
  var rootMountpoint: String { directory + "/rootfs" }

  var plan: MountPlan.SandboxFiles {
    MountPlan.SandboxFiles(hosts: hosts, hostname: hostname, resolvConf: resolvConf)
  }

  /// Makes the directory and writes the files. The files are for everybody in the container: 0644.
  /// - Parameter owner: they belong to the pod's user 0, which is the node's where this is nil.
  func write(
    hostname name: String, dns: Runtime_V1_DNSConfig?, addresses: [String], owner: UserMapping? = nil
  ) throws {
    try HostFiles.makeDirectory(directory, mode: 0o700)
    try HostFiles.makeDirectory(rootMountpoint, mode: 0o755)
    try writeHosts(hostname: name, addresses: addresses)
    try HostFiles.write(name + "\n", to: hostname, mode: 0o644)
    try HostFiles.write(try Self.resolvText(dns), to: resolvConf, mode: 0o644)
    guard let owner else { return }
    for path in [hosts, hostname, resolvConf] {
      try UserNamespace.own(path, uid: owner.uids.host, gid: owner.gids.host)
    }
  }

  /// Before the first container sees it.
  func writeHosts(hostname name: String, addresses: [String]) throws {
    try HostFiles.write(Self.hostsText(name: name, addresses: addresses), to: hosts, mode: 0o644)
  }

  func remove() throws { try HostFiles.removeTree(directory) }

  /// The node's file, and the pod's own name.
  private static func hostsText(name: String, addresses: [String]) throws -> String {
    let node = try HostFiles.read("/etc/hosts") ?? "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
    let own = addresses.map { "\($0)\t\(name)\n" }.joined()
    return own.isEmpty ? node : node + (node.hasSuffix("\n") ? "" : "\n") + own
  }

  /// nil: the node's file. Present but empty: an empty file, as the peers do.
  private static func resolvText(_ dns: Runtime_V1_DNSConfig?) throws -> String {
    guard let dns else { return try HostFiles.read("/etc/resolv.conf") ?? "" }
    var text = ""
    if !dns.searches.isEmpty { text += "search \(dns.searches.joined(separator: " "))\n" }
    for server in dns.servers { text += "nameserver \(server)\n" }
    if !dns.options.isEmpty { text += "options \(dns.options.joined(separator: " "))\n" }
    return text
  }
}
