import RuntimeModel
import Yams

/// One node of a manifest with its path and its place.
struct FieldNode {
  let node: Node
  let path: String
  let report: ManifestReport
  /// The place to name when the node itself has none.
  let fallback: Mark?

  var mark: Mark? { node.mark ?? fallback }

  func fail(_ message: String, _ severity: ManifestProblem.Severity = .error) {
    report.add(severity, line: mark?.line ?? 0, column: mark?.column ?? 0, path: path, message)
  }

  /// What the node is, for a message.
  private var kind: String {
    switch node {
    case .mapping: "a mapping"
    case .sequence: "a list"
    case .alias: "an alias"
    case .scalar:
      switch node.tag {
      case Tag(.bool): "a boolean"
      case Tag(.int), Tag(.float): "a number"
      case Tag(.null): "empty"
      default: "a string"
      }
    }
  }

  var isNull: Bool { node.scalar != nil && node.tag == Tag(.null) }

  func string() -> String? {
    guard let scalar = node.scalar else { return mismatch("a string") }
    if node.tag == Tag(.str) || node.tag == Tag(.timestamp) || node.tag == Tag(.merge) || node.tag == Tag(.value) {
      return scalar.string
    }
    return mismatch("a string", hint: "put \"\(scalar.string)\" in quotes")
  }

  func bool() -> Bool? { node.tag == Tag(.bool) ? node.bool : mismatch("true or false") }

  func integer(_ range: ClosedRange<Int64>) -> Int64? {
    guard node.tag == Tag(.int), let scalar = node.scalar, let value = Int64(scalar.string) ?? node.int.map(Int64.init)
    else { return mismatch("a whole number") }
    guard range.contains(value) else {
      fail("\(value) is not between \(range.lowerBound) and \(range.upperBound)")
      return nil
    }
    return value
  }

  /// A quantity may be written as a string or as a bare number.
  func quantity() -> Quantity? {
    guard let scalar = node.scalar, !isNull else { return mismatch("a quantity such as 500m or 64Mi") }
    guard let quantity = Quantity(scalar.string) else {
      fail("\"\(scalar.string)\" is no quantity; write for example 500m, 0.5, 64Mi or 1G")
      return nil
    }
    return quantity
  }

  func choice<Choice: RawRepresentable & CaseIterable>(_ type: Choice.Type) -> Choice? where Choice.RawValue == String {
    guard let text = string() else { return nil }
    if let choice = Choice(rawValue: text) { return choice }
    let allowed = Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
    fail("\"\(text)\" is not one of \(allowed)")
    return nil
  }

  func items() -> [FieldNode] {
    guard let sequence = node.sequence else {
      _ = mismatch("a list") as Never?
      return []
    }
    return sequence.enumerated().map { index, item in
      FieldNode(node: item, path: "\(path)[\(index)]", report: report, fallback: mark)
    }
  }

  func strings() -> [String] { items().compactMap { $0.string() } }

  /// A mapping from strings to strings, with the node of each key for messages.
  func stringMap() -> [(key: String, value: String, node: FieldNode)] {
    guard let mapping = node.mapping else {
      _ = mismatch("a mapping") as Never?
      return []
    }
    return mapping.compactMap { key, value in
      let name = key.scalar?.string ?? ""
      let child = FieldNode(node: value, path: "\(path).\(name)", report: report, fallback: key.mark)
      if child.isNull { return (name, "", child) }
      return child.string().map { (name, $0, child) }
    }
  }

  func fields() -> FieldReader? {
    guard let mapping = node.mapping else { return mismatch("a mapping") }
    return FieldReader(self, mapping)
  }

  private func mismatch<Result>(_ expected: String, hint: String? = nil) -> Result? {
    fail("must be \(expected), but is \(kind)" + (hint.map { "; \($0)" } ?? ""))
    return nil
  }
}

/// Reads the fields of one mapping and remembers which it was asked for, so that `finish` can name the others.
final class FieldReader {
  let origin: FieldNode
  private var entries: [(key: Node, value: Node)]
  private var known: [String] = []

  init(_ origin: FieldNode, _ mapping: Node.Mapping) {
    self.origin = origin
    entries = mapping.map { ($0.key, $0.value) }
  }

  /// The field's node; nil when it is absent or null.
  subscript(_ name: String) -> FieldNode? {
    known.append(name)
    guard let position = entries.firstIndex(where: { $0.key.scalar?.string == name }) else { return nil }
    let (key, value) = entries.remove(at: position)
    let node = FieldNode(node: value, path: path(name), report: origin.report, fallback: key.mark)
    return node.isNull ? nil : node
  }

  /// A field that has to be there and not empty.
  func requiredString(_ name: String) -> String? {
    guard let node = self[name] else {
      origin.fail("\(name) is missing")
      return nil
    }
    guard let text = node.string() else { return nil }
    guard !text.isEmpty else {
      node.fail("must not be empty")
      return nil
    }
    return text
  }

  /// Fields that Kubernetes knows and we do not honour yet: an error that says so.
  func unsupported(_ names: [String], _ reason: String = "is not supported by swiftlet yet") {
    for name in names {
      guard let node = self[name] else { continue }
      if Self.isEmpty(node.node) { continue }
      refuse(name, node.fallback, reason)
    }
  }

  /// Fields that mean nothing outside a cluster or are written by one, and that generators emit: taken, ignored.
  func ignored(_ names: [String]) {
    for name in names { _ = self[name] }
  }

  /// Names every field that nobody asked for.
  func finish() {
    for (key, _) in entries {
      let name = key.scalar?.string ?? "?"
      let near = Self.nearest(to: name, in: known)
      refuse(name, key.mark, "is not a known field" + (near.map { "; did you mean \($0)?" } ?? ""))
    }
    entries = []
  }

  private func refuse(_ name: String, _ mark: Mark?, _ message: String) {
    let severity: ManifestProblem.Severity = origin.report.isLenient ? .warning : .error
    let suffix = origin.report.isLenient ? " (ignored)" : ""
    if !origin.report.isLenient { origin.report.hasRefusedField = true }
    origin.report.add(
      severity, line: mark?.line ?? 0, column: mark?.column ?? 0, path: path(name), message + suffix)
  }

  private func path(_ name: String) -> String { origin.path.isEmpty ? name : "\(origin.path).\(name)" }

  private static func isEmpty(_ node: Node) -> Bool {
    switch node {
    case .mapping(let mapping): mapping.isEmpty
    case .sequence(let sequence): sequence.isEmpty
    default: false
    }
  }

  /// The known name at an edit distance of at most two, or the same but for case.
  static func nearest(to name: String, in names: [String]) -> String? {
    let limit = name.count <= 4 ? 1 : 2
    let ranked = names.map { (name: $0, distance: distance($0.lowercased(), name.lowercased())) }
    return ranked.filter { $0.distance <= limit }.min { $0.distance < $1.distance }?.name
  }

  /// Levenshtein's distance between two short names.
  private static func distance(_ first: String, _ second: String) -> Int {
    let columns = Array(second)
    var previous = Array(0...columns.count)
    for (row, character) in first.enumerated() {
      var current = [row + 1]
      for (column, other) in columns.enumerated() {
        let replaced = previous[column] + (character == other ? 0 : 1)
        current.append(min(replaced, previous[column + 1] + 1, current[column] + 1))
      }
      previous = current
    }
    return previous.last ?? 0
  }
}
