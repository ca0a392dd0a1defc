import CLibYAML
import RuntimeModel

/// A YAML document (or a JSON one, which is YAML, too) as plain values, read by libyaml: the Swift library for it would
/// bring the whole of Foundation into the daemon.
///
/// The limits are far above what any vendor writes. Anchors and aliases, by which a small file becomes a large value,
/// are refused.
indirect enum YAMLValue: Sendable, Equatable {
  case null
  /// `isPlain`: written without quotes, and so perhaps a number.
  case scalar(String, isPlain: Bool)
  case list([YAMLValue])
  case map([String: YAMLValue])

  static let mostValues = 100_000
  static let mostLevels = 32

  /// - Parameter file: for texts.
  /// - Throws: `failedPrecondition` naming file and line.
  static func parse(_ bytes: [UInt8], file: String) throws(RuntimeError) -> YAMLValue {
    let events = try YAMLEvents(bytes, file: file)
    try events.expect(YAML_STREAM_START_EVENT, "a stream")
    try events.expect(YAML_DOCUMENT_START_EVENT, "a document")
    let value = try events.value(try events.next(), level: 0)
    try events.expect(YAML_DOCUMENT_END_EVENT, "the document's end")
    try events.expect(YAML_STREAM_END_EVENT, "one document only")
    return value
  }
}

/// libyaml's events, one after the other.
private final class YAMLEvents {
  struct Event {
    var type: yaml_event_type_t
    var text = ""
    var isPlain = false
    var line: Int
  }

  // The parser keeps pointers to itself and to the bytes: neither may move.
  private let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
  private let input: UnsafeMutableBufferPointer<UInt8>
  private let file: String
  private var values = 0

  init(_ bytes: [UInt8], file: String) throws(RuntimeError) {
    self.file = file
    input = .allocate(capacity: bytes.count + 1)
    _ = input.initialize(from: bytes + [0])
    guard yaml_parser_initialize(parser) == 1 else {
      throw RuntimeError(.resourceExhausted, "\(file): no memory for a parser")
    }
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
    yaml_parser_set_input_string(parser, input.baseAddress, bytes.count)
  }

  deinit {
    yaml_parser_delete(parser)
    parser.deallocate()
    input.deallocate()
  }

  func next() throws(RuntimeError) -> Event {
    var event = yaml_event_t()
    guard yaml_parser_parse(parser, &event) == 1 else {
      let problem = parser.pointee.problem.map { String(cString: $0) } ?? "cannot be parsed"
      throw failure(problem, line: parser.pointee.problem_mark.line)
    }
    defer { yaml_event_delete(&event) }
    var found = Event(type: event.type, line: event.start_mark.line)
    var anchor: UnsafeMutablePointer<yaml_char_t>?
    switch event.type {
    case YAML_SCALAR_EVENT:
      let scalar = event.data.scalar
      let bytes = UnsafeBufferPointer(start: scalar.value, count: scalar.length)
      found.text = String(decoding: bytes, as: UTF8.self)
      found.isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
      anchor = scalar.anchor
    case YAML_SEQUENCE_START_EVENT: anchor = event.data.sequence_start.anchor
    case YAML_MAPPING_START_EVENT: anchor = event.data.mapping_start.anchor
    case YAML_ALIAS_EVENT: anchor = event.data.alias.anchor
    default: break
    }
    guard anchor == nil else { throw failure("anchors and aliases are not taken", line: found.line) }
    return found
  }

  func expect(_ type: yaml_event_type_t, _ what: String) throws(RuntimeError) {
    let event = try next()
    guard event.type == type else { throw failure("expected \(what)", line: event.line) }
  }

  func value(_ event: Event, level: Int) throws(RuntimeError) -> YAMLValue {
    values += 1
    guard values <= YAMLValue.mostValues, level <= YAMLValue.mostLevels else {
      throw failure("more values or levels than a device specification has", line: event.line)
    }
    switch event.type {
    case YAML_SCALAR_EVENT:
      if event.isPlain, ["", "~", "null", "Null", "NULL"].contains(event.text) { return .null }
      return .scalar(event.text, isPlain: event.isPlain)
    case YAML_SEQUENCE_START_EVENT:
      var list: [YAMLValue] = []
      while true {
        let item = try next()
        if item.type == YAML_SEQUENCE_END_EVENT { return .list(list) }
        list.append(try value(item, level: level + 1))
      }
    case YAML_MAPPING_START_EVENT: return .map(try map(level: level))
    default: throw failure("expected a value", line: event.line)
    }
  }

  private func map(level: Int) throws(RuntimeError) -> [String: YAMLValue] {
    var map: [String: YAMLValue] = [:]
    while true {
      let key = try next()
      if key.type == YAML_MAPPING_END_EVENT { return map }
      guard key.type == YAML_SCALAR_EVENT else { throw failure("a key is no text", line: key.line) }
      guard map.updateValue(try value(try next(), level: level + 1), forKey: key.text) == nil else {
        throw failure("\"\(key.text)\" comes twice", line: key.line)
      }
    }
  }

  private func failure(_ reason: String, line: Int) -> RuntimeError {
    RuntimeError(.failedPrecondition, "\(file):\(line + 1): \(reason)")
  }
}
