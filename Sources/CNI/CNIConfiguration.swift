/// The `[network.cni]` table of the configuration file.
package struct CNIConfiguration: Sendable, Hashable {
  /// Where the configuration list is: the first `.conflist`, `.conf` or `.json` by name.
  package var configurationDirectory = "/etc/cni/net.d"
  /// Where plugins are looked for, in this order.
  package var pluginDirectories = ["/opt/cni/bin", "/usr/lib/cni"]
  /// Where the result of each ADD is kept for its DEL; it must survive a reboot, since what plugins keep does.
  package var cacheDirectory = "/var/lib/swiftlet/cni"
  /// Where namespaces get a name for plugins while their sandbox lives.
  package var namespaceDirectory = "/run/swiftlet/netns"
  /// How long one run of one plugin may take.
  package var timeout = Duration.seconds(60)

  /// The defaults.
  package init() {}

  /// - Returns: key and reason of the first value that cannot work; nil: all can.
  package func problem() -> (key: String, reason: String)? {
    let paths = [
      ("conf_dir", [configurationDirectory]), ("bin_dirs", pluginDirectories), ("cache_dir", [cacheDirectory]),
    ]
    for (key, values) in paths {
      if values.isEmpty { return (key, "is empty") }
      for value in values where !value.hasPrefix("/") || value.utf8.contains(0) {
        return (key, "\"\(value)\" is not absolute")
      }
      // The directories go to plugins as one CNI_PATH.
      if key == "bin_dirs", let value = values.first(where: { $0.contains(":") }) {
        return (key, "\"\(value)\" has a colon in it")
      }
    }
    return nil
  }
}
