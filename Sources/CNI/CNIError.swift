package import LinuxSystem

/// Why plugins could not do something.
package enum CNIError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The directory holds no configuration.
  case noConfiguration(directory: String)
  /// A configuration file that cannot be used; nothing else is tried in its place.
  case badConfiguration(path: String, reason: String)
  /// A plugin that the list names is in none of the directories.
  case pluginMissing(type: String, directories: [String])
  /// A plugin said no: its own code and words.
  case plugin(Refusal)
  /// A plugin did not end in time, and was killed with its children.
  case timedOut(plugin: String, command: String, network: String, limit: Duration)
  /// What a plugin printed is no answer.
  case badAnswer(plugin: String, command: String, network: String, reason: String)
  /// What the sandbox asks for cannot be said to plugins.
  case badRequest(String)
  /// The daemon's own part: namespace, cache, spawning.
  case system(String, SystemCallError)

  /// An error result of the specification, section 5.
  package struct Refusal: Sendable, Equatable {
    /// Type of the plugin.
    package var plugin: String
    /// ADD, DEL, CHECK, STATUS or GC.
    package var command: String
    package var network: String
    /// 1 to 99 are the specification's, 100 and above the plugin's own; nil: it died of `exit`.
    package var code: Int?
    package var message: String
    package var details: String
    /// Code or signal in words, where it is all there is.
    package var exit: String
  }

  package var description: String {
    switch self {
    case .noConfiguration(let directory): "no network configuration in \(directory)"
    case .badConfiguration(let path, let reason): "\(path): \(reason)"
    case .pluginMissing(let type, let directories):
      "plugin \"\(type)\" is in none of \(directories.joined(separator: ", "))"
    case .plugin(let refusal): refusal.description
    case .timedOut(let plugin, let command, let network, let limit):
      "plugin \"\(plugin)\", \(command) of network \"\(network)\": no end after \(limit.components.seconds) s; killed"
    case .badAnswer(let plugin, let command, let network, let reason):
      "plugin \"\(plugin)\", \(command) of network \"\(network)\": \(reason)"
    case .badRequest(let text): text
    case .system(let step, let error): "\(step): \(error)"
    }
  }
}

extension CNIError.Refusal: CustomStringConvertible {
  package var description: String {
    var text = "plugin \"\(plugin)\", \(command) of network \"\(network)\": "
    text += message.isEmpty ? exit : message
    if !details.isEmpty { text += " (\(details))" }
    if let code { text += ", code \(code)" + (Self.meanings[code].map { ": \($0)" } ?? "") }
    return text
  }

  /// The specification's codes.
  private static let meanings = [
    1: "incompatible version", 2: "unsupported field", 3: "unknown container", 4: "bad environment",
    5: "input or output failed", 6: "undecodable", 7: "bad configuration", 11: "try again later",
    50: "plugin is not available", 51: "plugin is not available, and existing containers may have limited connectivity",
  ]
}
