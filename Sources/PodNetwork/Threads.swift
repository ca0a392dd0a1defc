internal import LinuxSystem
internal import Synchronization

/// As LinuxSystem's `startThread`, with this room's error.
func startNetworkThread(named name: String, _ body: @escaping @Sendable () -> Void) throws(NetworkError) {
  do throws(SystemCallError) {
    try startThread(named: name, body)
  } catch {
    throw .kernel("start", error.number, "thread \(name)")
  }
}

/// One thread that carries out one job after another: rtnl is one lock, so more writers would only wait for each other.
final class SerialThread: Sendable {
  private enum Phase { case running, stopping }
  private struct State {
    var jobs: [@Sendable () -> Void] = []
    /// For when there are no others; one at a time.
    var idle: [@Sendable () -> Void] = []
    var phase = Phase.running
  }

  private let state = Mutex(State())
  private let signal = Signal()

  init(name: String) throws(NetworkError) {
    try startNetworkThread(named: name) { [self] in serve() }
  }

  /// Carries out `body` after all that was asked before. Cancellation does not skip it.
  /// - Throws: what `body` throws; `closed` after `stop`.
  func run<Value: Sendable>(
    _ body: @escaping @Sendable () throws(NetworkError) -> Value
  ) async throws(NetworkError) -> Value {
    let result: Result<Value, NetworkError> = await withCheckedContinuation { continuation in
      let isAccepted = submit { continuation.resume(returning: Result(catching: body)) }
      if !isAccepted { continuation.resume(returning: .failure(.closed)) }
    }
    return try result.get()
  }

  /// As `run`, without waiting.
  /// - Parameter whenIdle: after everything else, also what is asked later; `stop` forgets it.
  /// - Returns: false after `stop`.
  @discardableResult
  func submit(whenIdle: Bool = false, _ job: @escaping @Sendable () -> Void) -> Bool {
    let isAccepted = state.withLock { state in
      guard state.phase == .running else { return false }
      if whenIdle { state.idle.append(job) } else { state.jobs.append(job) }
      return true
    }
    if isAccepted { signal.raise() }
    return isAccepted
  }

  /// Jobs that have not begun.
  var waiting: Int { state.withLock { $0.jobs.count } }

  /// Lets the thread end once what was asked before is done.
  func stop() {
    state.withLock { $0.phase = .stopping }
    signal.raise()
  }

  /// All that is asked, or one that can wait, or nil.
  private func next() -> [@Sendable () -> Void]? {
    state.withLock { state in
      if state.phase == .stopping { state.idle = [] }
      if state.jobs.isEmpty { return state.idle.isEmpty ? nil : [state.idle.removeFirst()] }
      defer { state.jobs = [] }
      return state.jobs
    }
  }

  private func serve() {
    while true {
      signal.wait(milliseconds: -1)
      while let jobs = next() {
        for job in jobs { job() }
      }
      if state.withLock({ $0.phase == .stopping && $0.jobs.isEmpty }) { return }
    }
  }
}
