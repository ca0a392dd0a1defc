import Glibc
import RuntimeModel
import TOMLKit

/// One table of the configuration file, with errors that say where.
struct ConfigurationTable {
  private let table: TOMLTable
  private let file: String
  private let text: String
  /// With those of the tables around it; empty for the top level.
  private let name: String

  /// - Parameter path: nil gives an empty table.
  init(path: String?) throws {
    name = ""
    file = path ?? "(no configuration file)"
    text = try path.map(Self.read) ?? ""
    do {
      table = try TOMLTable(string: text)
    } catch let error as TOMLParseError {
      let position = error.source.begin
      throw RuntimeError(
        .invalidArgument, "\(file):\(position.line):\(position.column): \(error.description)")
    }
  }

  private init(_ table: TOMLTable, name: String, of parent: ConfigurationTable) {
    self.table = table
    self.name = name
    file = parent.file
    text = parent.text
  }

  /// - Parameter reason: what is said of such a key; nil: that it is unknown.
  /// - Throws: naming the first key that is none of `keys`.
  func allow(_ keys: Set<String>, because reason: String? = nil) throws(RuntimeError) {
    if let unknown = table.keys.sorted().first(where: { !keys.contains($0) }) {
      throw failure(unknown, reason ?? "unknown key; known are \(keys.sorted().joined(separator: ", "))")
    }
  }

  func table(_ key: String) throws(RuntimeError) -> ConfigurationTable? {
    try value(key, "a table") { $0.table }.map { ConfigurationTable($0, name: path(of: key), of: self) }
  }

  func string(_ key: String) throws(RuntimeError) -> String? { try value(key, "a string") { $0.string } }
  func integer(_ key: String) throws(RuntimeError) -> Int? { try value(key, "an integer") { $0.int } }
  func boolean(_ key: String) throws(RuntimeError) -> Bool? { try value(key, "true or false") { $0.bool } }

  func strings(_ key: String) throws(RuntimeError) -> [String]? {
    try value(key, "a list of strings") { value in
      guard let array = value.array else { return nil }
      let strings = array.compactMap(\.string)
      return strings.count == array.count ? strings : nil
    }
  }

  func choice<Choice: RawRepresentable & CaseIterable>(
    _ key: String
  ) throws(RuntimeError) -> Choice? where Choice.RawValue == String {
    guard let text = try string(key) else { return nil }
    guard let choice = Choice(rawValue: text) else {
      throw failure(key, "\"\(text)\" is not one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return choice
  }

  /// An error at a key: file, line and column where the key stands.
  func failure(_ key: String, _ reason: String) -> RuntimeError {
    RuntimeError(.invalidArgument, "\(file):\(position(of: key)): \(path(of: key)): \(reason)")
  }

  private func path(of key: String) -> String { name.isEmpty ? key : "\(name).\(key)" }

  private func value<Value>(
    _ key: String, _ kind: String, _ convert: (any TOMLValueConvertible) -> Value?
  ) throws(RuntimeError) -> Value? {
    guard let value = table[key] else { return nil }
    guard let converted = convert(value) else { throw failure(key, "must be \(kind)") }
    return converted
  }

  /// The parser keeps no positions of keys, so the line is looked for: the first that begins with the key (or opens the
  /// table of that name) behind this table's header.
  private func position(of key: String) -> String {
    var isInside = name.isEmpty
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let content = line.drop { $0 == " " || $0 == "\t" }
      let column = line.utf8.count - content.utf8.count + 1
      if content.hasPrefix("[") {
        let header = content.dropFirst().prefix { $0 != "]" }.filter { $0 != " " && $0 != "[" }
        if header == (name.isEmpty ? key : "\(name).\(key)") { return "\(index + 1):\(column)" }
        isInside = header == name
      } else if isInside, content.hasPrefix(key) || content.hasPrefix("\"\(key)\"") {
        return "\(index + 1):\(column)"
      }
    }
    return "1:1"
  }

  private static func read(_ path: String) throws(RuntimeError) -> String {
    guard let file = fopen(path, "re") else {
      throw RuntimeError(.invalidArgument, "--config \(path): \(String(cString: strerror(errno)))")
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while bytes.count < 1 << 20 {
      let count = fread(&buffer, 1, buffer.count, file)
      if count == 0 { break }
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
