import RuntimeModel

/// The fields of one object of a specification, each taken once by its name; what nobody takes is unknown, and an error:
/// a field that we do not know may be one that must not be left out.
struct ObjectReader {
  private var fields: [String: YAMLValue]
  /// `FILE: devices[0].containerEdits`, for texts.
  let place: String

  init(_ value: YAMLValue, at place: String) throws(RuntimeError) {
    self.place = place
    switch value {
    case .map(let map): fields = map
    case .null: fields = [:]
    default: throw RuntimeError(.failedPrecondition, "\(place): is no object")
    }
  }

  /// - Throws: naming the first field that was not taken.
  func finish() throws(RuntimeError) {
    if let unknown = fields.keys.sorted().first { throw failure(unknown, "is not known") }
  }

  func failure(_ field: String, _ reason: String) -> RuntimeError {
    RuntimeError(.failedPrecondition, "\(place).\(field): \(reason)")
  }

  /// Whether the field is there and not null or empty.
  mutating func has(_ field: String) -> Bool {
    switch fields.removeValue(forKey: field) {
    case nil, .null: false
    case .list(let list): !list.isEmpty
    case .map(let map): !map.isEmpty
    case .scalar: true
    }
  }

  mutating func string(_ field: String) throws(RuntimeError) -> String? {
    switch fields.removeValue(forKey: field) {
    case nil, .null: return nil
    case .scalar(let text, _):
      guard !text.utf8.contains(0) else { throw failure(field, "holds a NUL") }
      return text
    default: throw failure(field, "is no text")
    }
  }

  /// - Throws: when it is absent or empty.
  mutating func requiredString(_ field: String) throws(RuntimeError) -> String {
    guard let text = try string(field), !text.isEmpty else { throw failure(field, "is missing") }
    return text
  }

  /// Decimal, or `0x`, `0o` or a leading 0 as YAML 1.1 has them.
  mutating func number(_ field: String) throws(RuntimeError) -> UInt32? {
    guard let value = fields.removeValue(forKey: field), value != .null else { return nil }
    guard case .scalar(let text, true) = value, let number = Self.number(text) else {
      throw failure(field, "is no number from 0 to \(UInt32.max)")
    }
    return number
  }

  static func number(_ text: String) -> UInt32? {
    if text.hasPrefix("0x") { return UInt32(text.dropFirst(2), radix: 16) }
    if text.hasPrefix("0o") { return UInt32(text.dropFirst(2), radix: 8) }
    if text.hasPrefix("0") { return UInt32(text, radix: 8) }
    return text.hasPrefix("+") ? nil : UInt32(text)
  }

  mutating func list(_ field: String) throws(RuntimeError) -> [YAMLValue] {
    switch fields.removeValue(forKey: field) {
    case nil, .null: return []
    case .list(let list): return list
    default: throw failure(field, "is no list")
    }
  }

  mutating func strings(_ field: String) throws(RuntimeError) -> [String] {
    var strings: [String] = []
    for value in try list(field) {
      guard case .scalar(let text, _) = value, !text.utf8.contains(0) else { throw failure(field, "holds no text") }
      strings.append(text)
    }
    return strings
  }

  /// - Returns: nil when it is absent.
  mutating func object(_ field: String) throws(RuntimeError) -> ObjectReader? {
    guard let value = fields.removeValue(forKey: field), value != .null else { return nil }
    return try ObjectReader(value, at: "\(place).\(field)")
  }

  mutating func objects(_ field: String) throws(RuntimeError) -> [ObjectReader] {
    var readers: [ObjectReader] = []
    for (index, value) in try list(field).enumerated() {
      readers.append(try ObjectReader(value, at: "\(place).\(field)[\(index)]"))
    }
    return readers
  }
}
