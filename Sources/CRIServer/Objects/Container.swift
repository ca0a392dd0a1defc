import CRIProtocol
import RuntimeModel
import Synchronization

/// A container as the daemon holds it.
final class Container: Sendable {
  let id: Identifier
  let sandboxID: Identifier
  let config: Runtime_V1_ContainerConfig
  /// Start, the recording of the exit, and removal go through here one at a time.
  let lane = Lane()
  /// Opens when the exit is in the store.
  let exited = Latch()
  /// Readings for stats.
  let processor = ProcessorHistory()
  let writableLayer = WritableLayer()

  private struct State: Sendable {
    var record: ContainerRecord
    var isRemoved = false
    var isStopping = false
    var isKilled = false
    /// How many removals are under way.
    var removals = 0
  }

  private let state: Mutex<State>

  init(record: ContainerRecord, config: Runtime_V1_ContainerConfig) {
    id = record.id
    sandboxID = record.sandboxID
    self.config = config
    state = Mutex(State(record: record))
    if record.state == .exited { exited.open() }
  }

  var record: ContainerRecord { state.withLock { $0.record } }
  var isRemoved: Bool { state.withLock { $0.isRemoved } }
  /// Free text for errors: `container web (0123456789ab)`.
  var subject: String { "container \(config.metadata.name) (\(id.short))" }

  /// Changes the record in memory. Who calls this writes the result to the store.
  func update(_ change: (inout ContainerRecord) -> Void) -> ContainerRecord {
    state.withLock { state in
      change(&state.record)
      return state.record
    }
  }

  func markRemoved() { state.withLock { $0.isRemoved = true } }

  /// While this is true nothing starts it.
  var isBeingRemoved: Bool { state.withLock { $0.removals > 0 } }
  func beginRemoval() { state.withLock { $0.removals += 1 } }
  func endRemoval() { state.withLock { $0.removals -= 1 } }

  /// Whether a stop has killed its first process, which was alive until then.
  var isKilled: Bool { state.withLock { $0.isKilled } }
  func markKilled() { state.withLock { $0.isKilled = true } }

  /// - Returns: whether this is the first stop, the one that sends the stop signal.
  func beginStop() -> Bool {
    state.withLock { state in
      defer { state.isStopping = true }
      return !state.isStopping
    }
  }
}
