internal import Glibc
internal import Synchronization

/// A fixed number of OS threads for system calls that block, so that the cooperative pool never does.
///
/// Threads start with the first work and end with the pool. Work that waits is bounded by the requests that brought it.
package final class BlockingPool: Sendable {
  private let queue: Queue

  /// - Parameter threads: how many calls may block at the same time; at least 1.
  package init(threads: Int) {
    precondition(threads > 0, "a pool of no threads")
    queue = Queue(limit: threads)
  }

  deinit { queue.stop() }

  /// Runs `body` on a thread of the pool and waits for it without blocking the caller's.
  ///
  /// A body that has begun is not interrupted by cancellation; one that has not is not run.
  /// - Throws: what `body` throws; CancellationError.
  package func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try Task.checkCancellation()
    let outcome: Result<T, any Error> = await withCheckedContinuation { continuation in
      queue.add { continuation.resume(returning: Result(catching: body)) }
    }
    return try outcome.get()
  }
}

/// Work and the threads that take it; threads hold this, not the pool, so that the pool can end.
private final class Queue: Sendable {
  private struct State {
    var work: [@Sendable () -> Void] = []
    /// Index of the next piece; what lies before was taken.
    var next = 0
    var threads = 0
    var idle = 0
    var isStopped = false

    mutating func take() -> (@Sendable () -> Void)? {
      guard next < work.count else { return nil }
      defer {
        next += 1
        if next == work.count {
          work.removeAll(keepingCapacity: work.count <= 64)
          next = 0
        }
      }
      return work[next]
    }
  }

  private let limit: Int
  private let state = Mutex(State())
  private let wake = Semaphore()

  init(limit: Int) { self.limit = limit }

  func add(_ piece: @escaping @Sendable () -> Void) {
    let needsThread = state.withLock { state in
      state.work.append(piece)
      guard state.idle < state.work.count - state.next, state.threads < limit else { return false }
      state.threads += 1
      return true
    }
    if needsThread {
      do throws(SystemCallError) {
        try startThread(named: "calls") { [self] in serve() }
      } catch {
        // Those that run take the work. Without any the caller's thread does, slow as that is, rather than nobody.
        let isAlone = state.withLock { state in
          state.threads -= 1
          return state.threads == 0
        }
        while isAlone, let piece = state.withLock({ $0.take() }) { piece() }
      }
    }
    wake.signal()
  }

  func stop() {
    let threads = state.withLock { state in
      state.isStopped = true
      return state.threads
    }
    for _ in 0..<threads { wake.signal() }
  }

  private enum Turn {
    case work(@Sendable () -> Void)
    case nothing, end
  }

  private func serve() {
    while true {
      state.withLock { $0.idle += 1 }
      wake.wait()
      let turn: Turn = state.withLock { state in
        state.idle -= 1
        if let piece = state.take() { return .work(piece) }
        return state.isStopped ? .end : .nothing
      }
      switch turn {
      case .work(let piece): piece()
      case .nothing: continue
      case .end: return
      }
    }
  }
}

/// sem_t(3) at an address that does not move.
private final class Semaphore: @unchecked Sendable {
  // The guard: sem_post and sem_wait may be called by any thread (sem_overview(7)); the pointer never changes.
  private let pointer: UnsafeMutablePointer<sem_t>

  init() {
    pointer = .allocate(capacity: 1)
    let failed = sem_init(pointer, 0, 0)
    precondition(failed == 0, "sem_init: errno \(errno)")
  }

  deinit {
    sem_destroy(pointer)
    pointer.deallocate()
  }

  func signal() { sem_post(pointer) }

  func wait() {
    while sem_wait(pointer) != 0 {
      precondition(errno == EINTR, "sem_wait: errno \(errno)")
    }
  }
}
