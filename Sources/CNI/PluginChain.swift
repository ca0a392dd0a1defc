internal import Glibc
internal import LinuxSystem

/// Runs the plugins of a list for one attachment. Blocking.
struct PluginChain: Sendable {
  var configuration: CNIConfiguration
  var attachment: CachedAttachment

  private var list: NetworkList { attachment.list }

  /// ADD in order, each plugin with the result of the one before.
  /// - Returns: the last one's answer.
  func add(_ timings: (_ step: String) -> Void) throws(CNIError) -> JSON {
    var result: JSON?
    for plugin in list.plugins {
      let run = try run(plugin, "ADD", previous: result)
      let output = try run.run()
      guard let answer = try? JSON(parsing: output), answer.object != nil else {
        throw run.bad(output.isEmpty ? "it answered nothing" : "its answer is no JSON object")
      }
      result = answer
      timings(plugin.type)
    }
    return result ?? .null
  }

  /// DEL in reverse order. Each plugin is asked, whatever the others say.
  /// - Throws: the first failure.
  func delete() throws(CNIError) {
    var failure: CNIError?
    for plugin in list.plugins.reversed() {
      do throws(CNIError) {
        let previous = list.isAtLeast("0.4.0") ? attachment.result : nil
        _ = try run(plugin, "DEL", previous: previous).run()
      } catch {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
  }

  /// CHECK in order: whether the attachment is still as ADD left it. Nothing where the list is too old or says no.
  func check() throws(CNIError) {
    guard list.isAtLeast("0.4.0"), !list.isCheckDisabled, let result = attachment.result else { return }
    for plugin in list.plugins { _ = try run(plugin, "CHECK", previous: result).run() }
  }

  private func run(_ plugin: NetworkList.Plugin, _ command: String, previous: JSON?) throws(CNIError) -> PluginRun {
    var conf = Self.configuration(of: plugin, in: list)
    conf["prevResult"] = previous
    let runtime = attachment.runtimeConfig.filter { plugin.capabilities.contains($0.key) }
    if !runtime.isEmpty { conf["runtimeConfig"] = .object(runtime) }
    return PluginRun(
      path: try configuration.find(plugin.type), type: plugin.type, command: command, network: list.name,
      environment: environment(command), input: conf.bytes, timeout: configuration.timeout)
  }

  /// What a plugin reads but for what belongs to one attachment.
  static func configuration(of plugin: NetworkList.Plugin, in list: NetworkList) -> JSON {
    var conf = plugin.configuration
    conf["capabilities"] = nil
    conf["name"] = .string(list.name)
    conf["cniVersion"] = .string(list.version)
    return conf
  }

  private func environment(_ command: String) -> [String] {
    // A namespace that is gone is given as none: DEL then frees what it can.
    let isThere = access(attachment.namespacePath, F_OK) == 0
    return configuration.baseEnvironment + [
      "CNI_COMMAND=\(command)", "CNI_CONTAINERID=\(attachment.sandbox)",
      "CNI_NETNS=\(isThere || command == "ADD" ? attachment.namespacePath : "")", "CNI_IFNAME=\(attachment.interface)",
      "CNI_ARGS=\(attachment.arguments)",
    ]
  }
}

extension CNIConfiguration {
  /// What every run of a plugin has. Plugins run programs of the node, such as iptables.
  var baseEnvironment: [String] {
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/sbin:/usr/bin:/sbin:/bin"
    return ["PATH=\(path)", "CNI_PATH=\(pluginDirectories.joined(separator: ":"))"]
  }

  /// - Throws: `pluginMissing`.
  func find(_ type: String) throws(CNIError) -> String {
    for directory in pluginDirectories {
      let path = "\(directory)/\(type)"
      if access(path, X_OK) == 0 { return path }
    }
    throw .pluginMissing(type: type, directories: pluginDirectories)
  }
}
