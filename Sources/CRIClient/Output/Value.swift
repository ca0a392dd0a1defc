import Foundation
import SwiftProtobuf
import Yams

/// Data as it is printed by `-o json` and `-o yaml`: members keep their order.
indirect enum Value: Sendable, Equatable {
  case null
  case bool(Bool)
  case int(Int64)
  case double(Double)
  case string(String)
  case list([Value])
  case object([Member])

  struct Member: Sendable, Equatable {
    var key: String
    var value: Value

    init(_ key: String, _ value: Value) {
      self.key = key
      self.value = value
    }
  }

  /// An object whose members are in the order given.
  static func record(_ members: KeyValuePairs<String, Value>) -> Value {
    .object(members.map { Member($0.key, $0.value) })
  }

  static func strings(_ values: [String]) -> Value { .list(values.map { .string($0) }) }

  static func strings(_ values: [String: String]) -> Value {
    .object(values.sorted { $0.key < $1.key }.map { Member($0.key, .string($0.value)) })
  }

  /// The member's value; nil for anything but an object that has it.
  subscript(key: String) -> Value? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }

  /// The same object with a member set, in its place if it was there, else at the end.
  func setting(_ key: String, _ value: Value) -> Value {
    guard case .object(var members) = self else { return self }
    if let position = members.firstIndex(where: { $0.key == key }) {
      members[position].value = value
    } else {
      members.append(Member(key, value))
    }
    return .object(members)
  }
}

// MARK: - JSON

extension Value: Swift.Decodable {
  /// Reads JSON. Members are sorted by key, since the decoder does not keep their order.
  init(json: Data) throws { self = try JSONDecoder().decode(Value.self, from: json) }

  /// A protobuf message by its JSON mapping, field names as in the `.proto` file's JSON names.
  init(message: any Message) throws {
    var options = JSONEncodingOptions()
    options.alwaysPrintInt64sAsNumbers = true
    let bytes: [UInt8] = try message.jsonUTF8Bytes(options: options)
    try self.init(json: Data(bytes))
  }

  init(from decoder: any Swift.Decoder) throws {
    if let keyed = try? decoder.container(keyedBy: AnyKey.self) {
      let keys = keyed.allKeys.sorted { $0.stringValue < $1.stringValue }
      self = .object(try keys.map { Member($0.stringValue, try keyed.decode(Value.self, forKey: $0)) })
      return
    }
    if var unkeyed = try? decoder.unkeyedContainer() {
      var values: [Value] = []
      while !unkeyed.isAtEnd { values.append(try unkeyed.decode(Value.self)) }
      self = .list(values)
      return
    }
    let single = try decoder.singleValueContainer()
    if single.decodeNil() {
      self = .null
    } else if let bool = try? single.decode(Bool.self) {
      self = .bool(bool)
    } else if let int = try? single.decode(Int64.self) {
      self = .int(int)
    } else if let double = try? single.decode(Double.self) {
      self = .double(double)
    } else {
      self = .string(try single.decode(String.self))
    }
  }

  private struct AnyKey: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }

    init?(stringValue: String) { self.stringValue = stringValue }

    init?(intValue: Int) { nil }
  }

  /// Indented JSON without a final newline; `compact` puts it on one line.
  func json(compact: Bool = false) -> String {
    var text = ""
    writeJSON(into: &text, indent: compact ? nil : 0)
    return text
  }

  private func writeJSON(into text: inout String, indent: Int?) {
    switch self {
    case .null: text += "null"
    case .bool(let bool): text += bool ? "true" : "false"
    case .int(let int): text += "\(int)"
    case .double(let double): text += double.isFinite ? "\(double)" : "null"
    case .string(let string): Self.writeQuoted(string, into: &text)
    case .list(let values):
      Self.writeItems(values, brackets: ("[", "]"), into: &text, indent: indent) { value, text, inner in
        value.writeJSON(into: &text, indent: inner)
      }
    case .object(let members):
      Self.writeItems(members, brackets: ("{", "}"), into: &text, indent: indent) { member, text, inner in
        Self.writeQuoted(member.key, into: &text)
        text += inner == nil ? ":" : ": "
        member.value.writeJSON(into: &text, indent: inner)
      }
    }
  }

  private static func writeItems<Item>(
    _ items: [Item], brackets: (String, String), into text: inout String, indent: Int?,
    write: (Item, inout String, Int?) -> Void
  ) {
    text += brackets.0
    for (position, item) in items.enumerated() {
      if position > 0 { text += "," }
      if let indent { text += "\n" + String(repeating: " ", count: indent + 2) }
      write(item, &text, indent.map { $0 + 2 })
    }
    if let indent, !items.isEmpty { text += "\n" + String(repeating: " ", count: indent) }
    text += brackets.1
  }

  private static func writeQuoted(_ string: String, into text: inout String) {
    text += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let hex = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}

// MARK: - YAML

extension Value {
  /// YAML without a final newline.
  func yaml() throws -> String {
    let text = try Yams.serialize(node: node, indent: 2, width: -1, allowUnicode: true)
    return text.hasSuffix("\n") ? String(text.dropLast()) : text
  }

  private var node: Node {
    switch self {
    case .null: return Node("null", Tag(.null))
    case .bool(let bool): return Node(bool ? "true" : "false", Tag(.bool))
    case .int(let int): return Node("\(int)", Tag(.int))
    case .double(let double): return Node("\(double)", Tag(.float))
    case .string(let string):
      // Quoted where a reader would take the plain text for a number, a boolean or nothing.
      let plain = Node(string)
      let isPlain = !string.isEmpty && plain.tag == Tag(.str) && !string.contains("\n")
      return Node(string, Tag(.str), isPlain ? .any : string.contains("\n") ? .literal : .doubleQuoted)
    case .list(let values): return Node(values.map(\.node), .implicit, values.isEmpty ? .flow : .block)
    case .object(let members):
      let pairs = members.map { (Value.string($0.key).node, $0.value.node) }
      return Node(pairs, .implicit, members.isEmpty ? .flow : .block)
    }
  }
}
