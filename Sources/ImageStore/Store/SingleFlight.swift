import Synchronization

/// Work that several callers want at the same time and that is done once.
///
/// It goes on as long as one caller waits, whichever came first; with the last one gone it is cancelled. A caller that is
/// cancelled leaves at once, also when the work does not hear of it soon.
final class SingleFlight<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private struct Flight {
    var number: UInt64
    var task: Task<Void, Never>
    var waiters: [UInt64: CheckedContinuation<Value, any Error>]
  }

  private struct State {
    var flights: [Key: Flight] = [:]
    var next: UInt64 = 0
  }

  private let state = Mutex(State())

  /// Joins the work on `key`, or begins it.
  ///
  /// - Throws: what the work throws, to each who waits; `CancellationError`.
  func run(_ key: Key, _ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let waiter = state.withLock { state in
      state.next += 1
      return state.next
    }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        join(key, waiter, continuation, body)
      }
    } onCancel: {
      leave(key, waiter)
    }
  }

  private func join(
    _ key: Key, _ waiter: UInt64, _ continuation: CheckedContinuation<Value, any Error>,
    _ body: @escaping @Sendable () async throws -> Value
  ) {
    let isCancelled = state.withLock { state in
      // Set before the handler runs, which then waits for this lock.
      if Task.isCancelled { return true }
      if state.flights[key] != nil {
        state.flights[key]?.waiters[waiter] = continuation
        return false
      }
      state.next += 1
      let number = state.next
      // Unstructured, since it may outlive who began it; the flight holds it, and its last waiter cancels it.
      let task = Task {
        let result: Result<Value, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        finish(key, number, result)
      }
      state.flights[key] = Flight(number: number, task: task, waiters: [waiter: continuation])
      return false
    }
    if isCancelled { continuation.resume(throwing: CancellationError()) }
  }

  /// Sends everybody away, and waits for the work to end.
  func cancelAll() async {
    let flights = state.withLock { state in
      defer { state.flights = [:] }
      return Array(state.flights.values)
    }
    for flight in flights {
      flight.task.cancel()
      for waiter in flight.waiters.values { waiter.resume(throwing: CancellationError()) }
    }
    for flight in flights { await flight.task.value }
  }

  private func finish(_ key: Key, _ number: UInt64, _ result: Result<Value, any Error>) {
    let waiters = state.withLock { state -> [CheckedContinuation<Value, any Error>] in
      guard let flight = state.flights[key], flight.number == number else { return [] }
      state.flights[key] = nil
      return Array(flight.waiters.values)
    }
    for waiter in waiters { waiter.resume(with: result) }
  }

  private func leave(_ key: Key, _ waiter: UInt64) {
    let (continuation, abandoned) = state.withLock { state in
      guard let continuation = state.flights[key]?.waiters.removeValue(forKey: waiter) else {
        return (CheckedContinuation<Value, any Error>?.none, Task<Void, Never>?.none)
      }
      guard let flight = state.flights[key], flight.waiters.isEmpty else { return (continuation, nil) }
      state.flights[key] = nil
      return (continuation, flight.task)
    }
    abandoned?.cancel()
    continuation?.resume(throwing: CancellationError())
  }
}
