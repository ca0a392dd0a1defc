import Synchronization

/// Opens once and stays open; any number may wait, each with its own deadline.
final class Latch: Sendable {
  private struct State {
    var isOpen = false
    var nextKey = 0
    var waiting: [Int: CheckedContinuation<Bool, Never>] = [:]
  }

  private let state = Mutex(State())

  var isOpen: Bool { state.withLock { $0.isOpen } }

  func open() {
    let waiting = state.withLock { state in
      state.isOpen = true
      defer { state.waiting = [:] }
      return state.waiting
    }
    for continuation in waiting.values { continuation.resume(returning: true) }
  }

  /// - Parameter timeout: nil waits for as long as it takes.
  /// - Returns: false when `timeout` passed, or the calling task was cancelled, before the latch opened.
  func wait(timeout: Duration? = nil) async -> Bool {
    let key = state.withLock { state in
      state.nextKey += 1
      return state.nextKey
    }
    guard let timeout else { return await park(key) }
    let timer = Task { [self] in
      try? await Task.sleep(for: timeout)
      giveUp(key)
    }
    defer { timer.cancel() }
    return await park(key)
  }

  private func park(_ key: Int) async -> Bool {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let answer: Bool? = state.withLock { state in
          if state.isOpen { return true }
          if Task.isCancelled { return false }
          state.waiting[key] = continuation
          return nil
        }
        if let answer { continuation.resume(returning: answer) }
      }
    } onCancel: {
      giveUp(key)
    }
  }

  private func giveUp(_ key: Int) {
    state.withLock { $0.waiting.removeValue(forKey: key) }?.resume(returning: false)
  }
}
