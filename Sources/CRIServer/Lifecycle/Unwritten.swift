import ImageStore
import LinuxSystem
import Logging
import RuntimeModel
import Store
import Synchronization

/// What a disk has refused (full, read-only, broken) of what cannot wait for it: ends of containers and pods, and their
/// removal. It is true in memory at once, so that kubelet can go on ending what is there, and is written as soon as the
/// disk takes it. Nothing new is made meanwhile: what is here stays as bounded as what there was.
///
/// A daemon that dies meanwhile loses it. Then the records say less than was done, and the next one finds that out: an
/// exit is still with its shim, what has no process any more has ended, and who was removed is removed again.
final class Unwritten: Sendable {
  /// What there is to do; in the order in which it is tried again.
  enum Key: Hashable, Comparable {
    case sandbox(Identifier)
    case container(Identifier)
    case snapshot(Identifier)
    case directory(String)
    case removedContainer(Identifier)
    case removedSandbox(Identifier)
  }

  typealias Write = @Sendable () async throws -> Void

  private struct State {
    /// With the number of the refusal: a change that was refused while an older one was written is not done.
    var left: [Key: (number: UInt64, write: Write)] = [:]
    var refusals: UInt64 = 0
    var isRetrying = false
  }

  /// Between two attempts.
  private static let pause = Duration.seconds(1)

  private let state = Mutex(State())
  private let store: RecordStore
  private let threads: BlockingPool
  private let logger: Logger

  init(store: RecordStore, threads: BlockingPool, logger: Logger) {
    self.store = store
    self.threads = threads
    self.logger = logger
  }

  var isEmpty: Bool { state.withLock { $0.left.isEmpty } }

  /// Does it now, or as soon as the disk takes it.
  /// - Parameter write: may be repeated, and then writes what is true then.
  /// - Throws: what is not the disk's refusal.
  func settle(_ key: Key, _ write: @escaping Write) async throws {
    do {
      try await write()
    } catch {
      guard Self.isRefusal(error) else { throw error }
      put(key, error, write)
    }
  }

  /// It has been refused.
  func put(_ key: Key, _ error: any Error, _ write: @escaping Write) {
    let isNew = state.withLock { state in
      state.refusals += 1
      return state.left.updateValue((state.refusals, write), forKey: key) == nil
    }
    if isNew {
      logger.error(
        "the disk refuses what has ended; it is tried again and nothing new is made meanwhile",
        metadata: ["what": "\(key)", "error": "\(error)"])
    }
    watch()
  }

  /// Before anything new is recorded.
  /// - Throws: `resourceExhausted` while there is something left that the disk refuses.
  func requireNone() async throws {
    guard !isEmpty else { return }
    try await attempt()
  }

  /// Why nothing can be recorded now, in prose; nil when the last change could be. Whoever asks has it looked at again.
  var trouble: String? {
    let left = state.withLock { $0.left.count }
    guard let refusal = store.refusal ?? (left == 0 ? nil : "the disk refuses removals") else { return nil }
    watch()
    return left == 0 ? refusal : "\(refusal); \(left) ends and removals are not written"
  }

  static func isRefusal(_ error: any Error) -> Bool {
    switch error {
    case let error as StoreError: error.isRefusalOfDisk
    case let error as ImageError: error.kind == .noSpace
    case let error as RuntimeError: error.code == .resourceExhausted
    default: false
    }
  }

  /// Tries again until nothing is left and the disk takes changes.
  private func watch() {
    let isFirst = state.withLock { state in
      defer { state.isRetrying = true }
      return !state.isRetrying
    }
    guard isFirst else { return }
    // Unstructured: it ends with the trouble, and has nothing that a daemon which ends would miss.
    Task {
      while true {
        do { try await Task.sleep(for: Self.pause) } catch { return }
        try? await attempt()
        let isOver = state.withLock { state in
          guard state.left.isEmpty, store.refusal == nil else { return false }
          state.isRetrying = false
          return true
        }
        if isOver { break }
      }
      logger.notice("the disk takes records again, and all are written")
    }
  }

  /// One round over all that is left: records and directories may be on disks of their own.
  /// - Throws: the first refusal.
  private func attempt() async throws {
    var refusal: (any Error)?
    try await threads.run { [store] in try store.probe() }
    for (key, refused) in state.withLock({ $0.left }).sorted(by: { $0.key < $1.key }) {
      do {
        try await refused.write()
      } catch StoreError.notFound {
        // Removed by now.
      } catch {
        if Self.isRefusal(error) {
          refusal = refusal ?? error
          continue
        }
        logger.error("what has ended cannot be written", metadata: ["what": "\(key)", "error": "\(error)"])
      }
      state.withLock { state in
        if state.left[key]?.number == refused.number { state.left[key] = nil }
      }
    }
    if let refusal { throw refusal }
  }
}

extension Daemon {
  /// As `save`, for what is so whatever the disk says.
  /// - Parameter failpoint: between memory and disk.
  func settle(
    _ sandbox: Sandbox, failpoint: Failpoint? = nil, _ change: (inout SandboxRecord) -> Void
  ) async throws {
    _ = sandbox.update(change)
    try await unwritten.settle(.sandbox(sandbox.id)) { [threads, store] in
      try await threads.run {
        try failpoint?.pass()
        try store.update { sandbox.record }
      }
    }
  }

  /// As `commit`, for what is so whatever the disk says. In the container's lane only.
  func settle(
    _ container: Container, failpoint: Failpoint? = nil, _ change: @Sendable (inout ContainerRecord) -> Void
  ) async throws {
    do {
      try await commit(container, failpoint: failpoint, change)
    } catch {
      guard Unwritten.isRefusal(error) else { throw error }
      _ = container.update(change)
      unwritten.put(.container(container.id), error) { [threads, store] in
        try await container.lane.run {
          try await threads.run { try store.update(container.record) }
        }
      }
    }
  }

  /// Removes a record, or leaves that to a better disk.
  func settleRemoval(sandbox: Identifier) async throws {
    try await unwritten.settle(.removedSandbox(sandbox)) { [threads, store] in
      try await threads.run { try store.remove(sandbox: sandbox) }
    }
  }

  /// Removes a container's directories and record, or leaves that to a better disk.
  func settleRemoval(container: Identifier) async throws {
    try await unwritten.settle(.snapshot(container)) { [images] in try await images.removeSnapshot(key: container) }
    try await pass(.discardRecord)
    try await unwritten.settle(.removedContainer(container)) { [threads, store] in
      try await threads.run { try store.remove(container: container) }
    }
  }
}
