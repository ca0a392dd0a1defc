internal import FoundationEssentials

/// A JSON value. Configurations and results belong to plugins: what we do not know passes through unchanged.
enum JSON: Sendable, Equatable {
  case null
  case bool(Bool)
  case int(Int64)
  case double(Double)
  case string(String)
  case array([JSON])
  case object([String: JSON])

  subscript(key: String) -> JSON? {
    get {
      guard case .object(let members) = self else { return nil }
      return members[key]
    }
    set {
      guard case .object(var members) = self else { return }
      members[key] = newValue
      self = .object(members)
    }
  }

  var string: String? { if case .string(let text) = self { text } else { nil } }
  var int: Int64? { if case .int(let number) = self { number } else { nil } }
  var bool: Bool? { if case .bool(let flag) = self { flag } else { nil } }
  var array: [JSON]? { if case .array(let values) = self { values } else { nil } }
  var object: [String: JSON]? { if case .object(let members) = self { members } else { nil } }

  /// - Throws: what the decoder says.
  init(parsing bytes: [UInt8]) throws { self = try JSONDecoder().decode(JSON.self, from: Data(bytes)) }

  /// With members in order, so that equal values are equal bytes.
  var bytes: [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Nothing in a value of ours cannot be encoded: there are no other numbers than the decoder gives.
    return (try? encoder.encode(self)).map(Array.init) ?? []
  }
}

extension JSON: Codable {
  init(from decoder: any Decoder) throws {
    let single = try decoder.singleValueContainer()
    if single.decodeNil() {
      self = .null
    } else if let flag = try? single.decode(Bool.self) {
      self = .bool(flag)
    } else if let number = try? single.decode(Int64.self) {
      self = .int(number)
    } else if let number = try? single.decode(Double.self) {
      self = .double(number)
    } else if let text = try? single.decode(String.self) {
      self = .string(text)
    } else if let values = try? single.decode([JSON].self) {
      self = .array(values)
    } else {
      self = .object(try single.decode([String: JSON].self))
    }
  }

  func encode(to encoder: any Encoder) throws {
    var single = encoder.singleValueContainer()
    switch self {
    case .null: try single.encodeNil()
    case .bool(let flag): try single.encode(flag)
    case .int(let number): try single.encode(number)
    case .double(let number): try single.encode(number)
    case .string(let text): try single.encode(text)
    case .array(let values): try single.encode(values)
    case .object(let members): try single.encode(members)
    }
  }
}
