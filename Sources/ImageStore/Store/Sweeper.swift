import LinuxSystem
import Logging
import Synchronization

/// Removes in the background what has lost its name.
final class Sweeper: Sendable {
  private let directory: StoreDirectory
  private let logger: Logger
  private let pool = BlockingPool(threads: 1)
  private let cancellation = CancellationFlag()
  private let last = Mutex<Task<Void, Never>?>(nil)

  init(_ directory: StoreDirectory, logger: Logger) {
    self.directory = directory
    self.logger = logger
  }

  /// - Parameter paths: below the store's `tmp`.
  func discard(_ paths: [String]) {
    guard !paths.isEmpty else { return }
    last.withLock { last in
      let before = last
      // Unstructured: nobody waits for it but shutdown, which finds the newest here, and that waits for those before.
      last = Task { [directory, logger, pool, cancellation] in
        await before?.value
        for path in paths {
          do {
            try await pool.run { try directory.discard(path, cancellation: cancellation) }
          } catch is CancellationError {
            return
          } catch {
            logger.warning("cannot remove", metadata: ["path": "\(path)", "error": "\(error)"])
          }
        }
      }
    }
  }

  /// Waits until all that was given up is gone.
  func drain() async { await last.withLock { $0 }?.value }

  /// Leaves the rest to the next start.
  func shutdown() async {
    cancellation.set()
    await drain()
  }
}
