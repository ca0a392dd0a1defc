/// Objects by identifier, found by any unique prefix.
package struct PrefixIndex<Value: Sendable>: Sendable {
  /// What a look-up by a client's text found.
  package enum Match: Sendable {
    case none
    case one(Value)
    /// More than one identifier begins with the text; never answered with a guess.
    case ambiguous
  }

  private var values: [Identifier: Value] = [:]

  package init() {}

  package subscript(id: Identifier) -> Value? {
    get { values[id] }
    set { values[id] = newValue }
  }

  package var all: [Value] { Array(values.values) }

  /// - Parameter text: a whole identifier or its beginning; the empty text matches nothing.
  package func find(_ text: String) -> Match {
    if let id = Identifier(text) { return values[id].map(Match.one) ?? .none }
    guard !text.isEmpty, text.utf8.count < 64 else { return .none }
    var found: Value?
    for (id, value) in values where id.value.hasPrefix(text) {
      if found != nil { return .ambiguous }
      found = value
    }
    return found.map(Match.one) ?? .none
  }
}
