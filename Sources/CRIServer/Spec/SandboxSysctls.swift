import RuntimeModel
import ShimProtocol

/// The sysctls of a sandbox: what the request sets, over the defaults that every pod with a network of its own gets.
enum SandboxSysctls {
  /// As containerd 2 has them: unprivileged processes may listen on low ports and ping. The kernel takes only groups
  /// that the pod's user namespace has.
  private static func networkDefaults(_ users: UserMapping?) -> [String: String] {
    let last = min(users.map { $0.gids.count - 1 } ?? .max, 0x7fff_ffff)
    return ["net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 \(last)"]
  }

  /// Sorted by name; the shim refuses what is not of a namespace that the pod owns.
  static func effective(
    _ requested: [String: String], namespaces: NamespaceChoice
  ) -> [Swiftlet_Shim_V1_Sysctl] {
    let asked = Dictionary(
      requested.map { ($0.key.contains("/") ? normalized($0.key) : $0.key, $0.value) }, uniquingKeysWith: { $1 })
    let all = (namespaces.hasHostNetwork ? [:] : networkDefaults(namespaces.users)).merging(asked) { $1 }
    return all.sorted { $0.key < $1.key }.map { name, value in
      var sysctl = Swiftlet_Shim_V1_Sysctl()
      sysctl.name = name
      sysctl.value = value
      return sysctl
    }
  }

  /// `net/ipv4/conf/eth0.1/x` is `net.ipv4.conf.eth0/1.x` (sysctl(8)): the separators change places.
  private static func normalized(_ name: String) -> String {
    guard let separator = name.first(where: { $0 == "/" || $0 == "." }), separator == "/" else { return name }
    return String(name.map { $0 == "/" ? "." : $0 == "." ? "/" : $0 })
  }
}
