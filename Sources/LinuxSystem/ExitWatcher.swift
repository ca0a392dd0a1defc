internal import CLinux
internal import Glibc
internal import Synchronization
internal import SystemPackage

/// Tells when processes end, and when descriptors can be read or written: one thread, one epoll(7), any number of each.
package final class ExitWatcher: Sendable {
  private let registry: Registry

  /// - Throws: EMFILE and the like.
  package init() throws(SystemCallError) {
    let registry = try Registry()
    self.registry = registry
    try startThread(named: "exits") { registry.serve() }
  }

  deinit { registry.end() }

  /// Returns once something can be read from a descriptor, or its other end is gone.
  ///
  /// - Returns: false when there is nothing at the end of `limit`.
  /// - Throws: CancellationError; ``SystemCallError``.
  package func input(at descriptor: SharedFD, within limit: Duration) async throws -> Bool {
    do {
      try await wait(for: descriptor.raw, within: limit)
      return true
    } catch is TimeLimitPassed {
      return false
    }
  }

  /// What a descriptor is waited for.
  package enum Direction: Sendable { case input, output }

  /// Returns once a descriptor can be read from, or written to, or has failed or lost its other end.
  ///
  /// - Parameter limit: nil: for as long as it takes.
  /// - Throws: CancellationError; ETIMEDOUT at the end of `limit`, and other ``SystemCallError``.
  package func readiness(
    of descriptor: borrowing OwnedFD, for direction: Direction, within limit: Duration? = nil
  ) async throws {
    try await readiness(of: descriptor.withRawDescriptor { $0 }, for: direction, within: limit)
  }

  /// As that, of a descriptor that the caller keeps open meanwhile.
  package func readiness(of descriptor: Int32, for direction: Direction, within limit: Duration? = nil) async throws {
    do {
      try await wait(for: descriptor, direction, within: limit)
    } catch is TimeLimitPassed {
      throw SystemCallError(call: "epoll_wait", errno: .timedOut, subject: "a descriptor")
    }
  }

  /// Returns once the process has ended (it may still have to be reaped by its parent).
  ///
  /// - Throws: CancellationError; ``SystemCallError``.
  package func exit(of process: borrowing Pidfd) async throws {
    try await wait(for: process, within: nil)
  }

  /// As `exit(of:)`, for a while.
  ///
  /// - Returns: false when the process still runs at the end of `limit`.
  /// - Throws: CancellationError; ``SystemCallError``.
  package func exit(of process: borrowing Pidfd, within limit: Duration) async throws -> Bool {
    do {
      try await wait(for: process, within: limit)
      return true
    } catch is TimeLimitPassed {
      return false
    }
  }

  private struct TimeLimitPassed: Error {}

  private func wait(for process: borrowing Pidfd, within limit: Duration?) async throws {
    try await wait(for: process.withRawDescriptor { $0 }, within: limit)
  }

  /// - Parameter raw: kept open by the caller until this begins to wait.
  private func wait(for raw: Int32, _ direction: Direction = .input, within limit: Duration?) async throws {
    let copy = try checked("dup", "descriptor \(raw)") { fcntl(raw, F_DUPFD_CLOEXEC, 0) }
    let wait = ExitWait(OwnedFD(owning: copy), direction, token: registry.nextToken())
    let timer = limit.map { limit in
      Task {
        try await Task.sleep(for: limit)
        wait.finish(.failure(TimeLimitPassed()))
      }
    }
    defer {
      timer?.cancel()
      registry.remove(wait)
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        if wait.begin(continuation) { registry.add(wait) }
      }
    } onCancel: {
      wait.finish(.failure(CancellationError()))
    }
  }
}

/// One caller's wait: whoever finishes it first resumes the caller.
private final class ExitWait: Sendable {
  private enum Phase {
    case idle
    case waiting(CheckedContinuation<Void, any Error>)
    case finished(Result<Void, any Error>)
  }

  let token: UInt64
  let descriptor: SharedFD
  let direction: ExitWatcher.Direction
  private let phase = Mutex(Phase.idle)

  init(_ descriptor: consuming OwnedFD, _ direction: ExitWatcher.Direction, token: UInt64) {
    self.descriptor = SharedFD(descriptor)
    self.direction = direction
    self.token = token
  }

  /// - Returns: false when it had been finished; the continuation was resumed then.
  func begin(_ continuation: CheckedContinuation<Void, any Error>) -> Bool {
    let known: Result<Void, any Error>? = phase.withLock { phase in
      if case .finished(let result) = phase { return result }
      phase = .waiting(continuation)
      return nil
    }
    if let known { continuation.resume(with: known) }
    return known == nil
  }

  func finish(_ result: Result<Void, any Error>) {
    let continuation: CheckedContinuation<Void, any Error>? = phase.withLock { phase in
      defer { if case .finished = phase {} else { phase = .finished(result) } }
      if case .waiting(let continuation) = phase { return continuation }
      return nil
    }
    continuation?.resume(with: result)
  }
}

/// The kernel's list and ours.
private final class Registry: Sendable {
  private static let stopToken: UInt64 = 0
  private let epoll: SharedFD
  private let stop: SharedFD
  private let last = Atomic<UInt64>(0)
  private let waits = Mutex<[UInt64: ExitWait]>([:])

  /// Never used twice, so that an event that is late finds nobody.
  func nextToken() -> UInt64 { last.add(1, ordering: .relaxed).newValue }

  init() throws(SystemCallError) {
    epoll = SharedFD(OwnedFD(owning: try checkedResult("epoll_create1", "exits") { clinux_host_epoll_create() }))
    stop = SharedFD(OwnedFD(owning: try checkedResult("eventfd", "exits") { clinux_host_eventfd() }))
    let (epoll, stop) = (epoll, stop)
    try checkedResult("epoll_ctl", "exits") { clinux_host_epoll_add_once(epoll.raw, stop.raw, Self.stopToken, 0) }
  }

  func add(_ wait: ExitWait) {
    waits.withLock { $0[wait.token] = wait }
    let result = clinux_host_epoll_add_once(
      epoll.raw, wait.descriptor.raw, wait.token, wait.direction == .output ? 1 : 0)
    guard result < 0 else { return }
    wait.finish(
      .failure(SystemCallError(call: "epoll_ctl", errno: Errno(rawValue: -result), subject: "pidfd of an exit")))
  }

  /// Before the descriptor closes: the kernel keys its list by file and number, and others share the file.
  func remove(_ wait: ExitWait) {
    _ = clinux_host_epoll_remove(epoll.raw, wait.descriptor.raw)
    waits.withLock { $0[wait.token] = nil }
  }

  func end() {
    var one: UInt64 = 1
    write(stop.raw, &one, 8)
  }

  func serve() {
    var tokens = [UInt64](repeating: 0, count: 64)
    while true {
      let count = clinux_host_epoll_wait(epoll.raw, &tokens, Int32(tokens.count))
      precondition(count >= 0 || count == -EINTR, "epoll_wait: errno \(-count)")
      for token in tokens.prefix(max(0, Int(count))) {
        if token == Self.stopToken { return }
        waits.withLock { $0[token] }?.finish(.success(()))
      }
    }
  }
}
