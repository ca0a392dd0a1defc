internal import CNetlink
internal import Glibc
internal import Synchronization

/// Starts a detached thread with all signals blocked. It begins in the network namespace of the caller's thread.
/// - Returns: 0 or an errno (pthread_create(3)).
func startThread(named name: String, _ body: @escaping @Sendable () -> Void) -> Int32 {
  final class Box {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var all = sigset_t()
  var before = sigset_t()
  sigfillset(&all)
  pthread_sigmask(SIG_SETMASK, &all, &before)
  defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
  let box = Unmanaged.passRetained(
    Box {
      cnetlink_name_thread(name)
      body()
    })
  var thread = pthread_t()
  let failed = pthread_create(
    &thread, nil,
    { argument in
      if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
      return nil
    }, box.toOpaque())
  guard failed == 0 else {
    box.release()
    return failed
  }
  pthread_detach(thread)
  return 0
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
    let failed = startThread(named: name) { [self] in serve() }
    guard failed == 0 else { throw .kernel("start", failed, "thread \(name)") }
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
