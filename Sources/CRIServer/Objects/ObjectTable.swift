import RuntimeModel
import Synchronization

/// The daemon's sandboxes or containers, by identifier, unique prefix and reserved name. Memory only.
final class ObjectTable<Object: AnyObject & Sendable>: Sendable {
  private struct State {
    var index = PrefixIndex<Object>()
    var names: [String: Object] = [:]
  }

  private let state = Mutex(State())
  /// `sandbox` or `container`, for errors.
  private let kind: String

  init(kind: String) { self.kind = kind }

  var all: [Object] { state.withLock { $0.index.all } }

  subscript(id: Identifier) -> Object? { state.withLock { $0.index[id] } }

  func named(_ name: String) -> Object? { state.withLock { $0.names[name] } }

  func insert(_ object: Object, id: Identifier, name: String) {
    state.withLock { state in
      state.index[id] = object
      state.names[name] = object
    }
  }

  func remove(id: Identifier, name: String) {
    state.withLock { state in
      state.index[id] = nil
      state.names[name] = nil
    }
  }

  /// - Parameter field: the request's field, for errors.
  /// - Throws: `invalidArgument` for an empty or ambiguous text, `notFound` for an unknown one.
  func get(_ text: String, field: String) throws(RuntimeError) -> Object {
    guard let object = try find(text, field: field) else {
      throw RuntimeError(.notFound, "\(field): no \(kind) \"\(text)\"")
    }
    return object
  }

  /// - Returns: nil for an unknown text: Stop and Remove succeed then.
  /// - Throws: `invalidArgument` for an empty or ambiguous text.
  func find(_ text: String, field: String) throws(RuntimeError) -> Object? {
    guard !text.isEmpty else { throw RuntimeError(.invalidArgument, "\(field) is empty") }
    switch state.withLock({ $0.index.find(text) }) {
    case .none: return nil
    case .one(let object): return object
    case .ambiguous:
      throw RuntimeError(.invalidArgument, "\(field): \"\(text)\" is the beginning of more than one \(kind)'s id")
    }
  }
}
