internal import FoundationEssentials
internal import Glibc
internal import LinuxSystem

/// A network configuration list (CNI specification, section 1): the plugins of one network in order.
struct NetworkList: Sendable, Equatable {
  /// One plugin's part.
  struct Plugin: Sendable, Equatable {
    var type: String
    /// As it stands in the file.
    var configuration: JSON
    /// Names of the runtimeConfig members it understands.
    var capabilities: Set<String>
  }

  /// Those we speak, oldest first. Each is a superset of the one before, as far as a runtime goes.
  static let versions = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]

  var name: String
  var version: String
  var plugins: [Plugin]
  var isCheckDisabled: Bool
  /// The file, for people.
  var path: String
  /// The whole list as it was read, for the cache.
  var source: JSON

  func isAtLeast(_ version: String) -> Bool {
    let position = { (text: String) in Self.versions.firstIndex(of: text) ?? 0 }
    return position(self.version) >= position(version)
  }

  // MARK: reading

  /// The first configuration of a directory by name. What is wrong with that one is an error: a network that the
  /// administrator did not mean must not take its place.
  static func first(in directory: String) throws(CNIError) -> NetworkList {
    let endings = [".conflist", ".conf", ".json"]
    let names = fileNames(directory).filter { name in endings.contains { name.hasSuffix($0) } && !name.hasPrefix(".") }
    guard let name = names.min() else { throw .noConfiguration(directory: directory) }
    return try read("\(directory)/\(name)")
  }

  static func read(_ path: String) throws(CNIError) -> NetworkList {
    let bytes: [UInt8]
    do {
      bytes = try readSmallFile(path, limit: 1 << 20)
    } catch {
      throw .badConfiguration(path: path, reason: "\(error)")
    }
    let json: JSON
    do {
      json = try JSON(parsing: bytes)
    } catch {
      throw .badConfiguration(path: path, reason: "is not JSON: \(problem(error))")
    }
    // A .conf or .json is one plugin's configuration; a list has `plugins`.
    guard json["plugins"] == nil, !path.hasSuffix(".conflist") else { return try NetworkList(json, path: path) }
    let members = ["name", "cniVersion"].compactMap { key in json[key].map { (key, $0) } }
    let list = JSON.object(Dictionary(members + [("plugins", .array([json]))], uniquingKeysWith: { $1 }))
    return try NetworkList(list, path: path)
  }

  /// - Parameters:
  ///   - source: a configuration list.
  ///   - path: for errors.
  init(_ source: JSON, path: String) throws(CNIError) {
    func bad(_ reason: String) -> CNIError { .badConfiguration(path: path, reason: reason) }
    guard source.object != nil else { throw bad("is not a JSON object") }
    guard let name = source["name"]?.string, Self.isName(name) else {
      throw bad("name must be letters, digits, dots, dashes and underscores, and begin with a letter or digit")
    }
    self.name = name
    self.path = path
    self.source = source
    version = try Self.version(source, bad)
    isCheckDisabled = source["disableCheck"]?.bool ?? (source["disableCheck"]?.string == "true")
    guard let parts = source["plugins"]?.array, !parts.isEmpty else { throw bad("plugins is missing or empty") }
    plugins = []
    for (index, part) in parts.enumerated() {
      guard let type = part["type"]?.string, Self.isName(type) else {
        throw bad("plugins[\(index)].type is missing or no program's name")
      }
      let capabilities = (part["capabilities"]?.object ?? [:]).filter { $0.value.bool == true }.keys
      plugins.append(Plugin(type: type, configuration: part, capabilities: Set(capabilities)))
    }
  }

  /// `cniVersions` (1.1) offers several, of which the highest that we speak counts.
  private static func version(_ source: JSON, _ bad: (String) -> CNIError) throws(CNIError) -> String {
    let offered =
      (source["cniVersions"]?.array ?? []).compactMap(\.string) + [source["cniVersion"]?.string].compactMap(\.self)
    guard !offered.isEmpty else { throw bad("cniVersion is missing") }
    guard let version = versions.last(where: offered.contains) else {
      throw bad("cniVersion \(offered.joined(separator: ", ")) is none of \(versions.joined(separator: ", "))")
    }
    return version
  }

  /// The specification's letters; they also make a type safe as a file's name.
  static func isName(_ text: String) -> Bool {
    let isLetter = { (byte: UInt8) in
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
        || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
    }
    guard let first = text.utf8.first, isLetter(first) else { return false }
    return text.utf8.allSatisfy {
      isLetter($0) || [UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_")].contains($0)
    }
  }

  private static func problem(_ error: any Error) -> String {
    guard case DecodingError.dataCorrupted(let context) = error else { return "\(error)" }
    let below = context.underlyingError.map { "\($0)" } ?? ""
    return below.isEmpty ? context.debugDescription : "\(context.debugDescription) \(below)"
  }
}
