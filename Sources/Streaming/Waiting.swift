import Synchronization

/// Nothing has happened in time; the text says what was waited for.
struct TimePassed: Error, CustomStringConvertible {
  var description: String
}

/// The result of `body`, cancelled when it takes too long.
/// - Throws: what `body` throws; ``TimePassed``.
func within<Value: Sendable>(
  _ limit: Duration, _ what: String, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  try await withThrowingTaskGroup(of: Value.self) { group in
    group.addTask(operation: body)
    group.addTask {
      try await Task.sleep(for: limit)
      throw TimePassed(description: what)
    }
    defer { group.cancelAll() }
    guard let value = try await group.next() else { throw CancellationError() }
    return value
  }
}

/// When something last passed over a connection.
final class IdleClock: Sendable {
  private let began = ContinuousClock.now
  /// Milliseconds since then.
  private let last = Atomic<Int64>(0)

  private var now: Int64 { Int64(began.duration(to: .now) / .milliseconds(1)) }

  func touch() { last.store(now, ordering: .relaxed) }

  /// - Throws: ``TimePassed`` once nothing has passed for `limit`; CancellationError.
  func watch(_ limit: Duration) async throws {
    while true {
      let left = limit - .milliseconds(now - last.load(ordering: .relaxed))
      guard left > .zero else { throw TimePassed(description: "nothing has passed for \(limit)") }
      try await Task.sleep(for: left)
    }
  }
}
