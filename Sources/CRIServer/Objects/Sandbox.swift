import CRIProtocol
import RuntimeModel
import ShimProtocol
import Synchronization

/// A pod sandbox as the daemon holds it: its record, and the way to its shim.
final class Sandbox: Sendable {
  let id: Identifier
  let config: Runtime_V1_PodSandboxConfig
  let namespaces: NamespaceChoice
  /// Stop, remove and whatever else changes the sandbox as a whole go through here one at a time.
  let lane = Lane()
  /// Readings for stats.
  let processor = ProcessorHistory()
  /// Opens when the sandbox is stopped, or its pause has ended: nothing can be reached in it from then on.
  let ended = Latch()

  private struct State: Sendable {
    var record: SandboxRecord
    var shim: ShimClient?
    /// RunPodSandbox has not finished: nobody sees the sandbox yet.
    var isListed: Bool
    var isRemoved = false
    var attachSteps: [(name: String, duration: Duration)] = []
  }

  private let state: Mutex<State>

  init(
    record: SandboxRecord, config: Runtime_V1_PodSandboxConfig, namespaces: NamespaceChoice, isListed: Bool
  ) {
    id = record.id
    self.config = config
    self.namespaces = namespaces
    state = Mutex(State(record: record, isListed: isListed))
  }

  var record: SandboxRecord { state.withLock { $0.record } }
  /// How long each step of its attach took, in order; empty when an earlier daemon attached it.
  var attachSteps: [(name: String, duration: Duration)] { state.withLock { $0.attachSteps } }
  var shim: ShimClient? { state.withLock { $0.shim } }
  var isListed: Bool { state.withLock { $0.isListed && !$0.isRemoved } }
  var isReady: Bool { state.withLock { $0.record.state == .ready } }
  /// Free text for errors: `sandbox default/web (0123456789ab)`.
  var subject: String {
    "sandbox \(config.metadata.namespace)/\(config.metadata.name) (\(id.short))"
  }

  /// Why it is not ready although nobody stopped it, in prose; empty where that is not known.
  var notReadyReason: String { state.withLock { $0.record.notReadyReason ?? "" } }
  /// Changes the record in memory. Who calls this writes the result to the store.
  func update(_ change: (inout SandboxRecord) -> Void) -> SandboxRecord {
    let record = state.withLock { state in
      change(&state.record)
      return state.record
    }
    if record.state == .notReady { ended.open() }
    return record
  }

  func attached(_ steps: [(name: String, duration: Duration)]) { state.withLock { $0.attachSteps = steps } }
  func connect(_ shim: ShimClient?) { state.withLock { $0.shim = shim } }
  func show() { state.withLock { $0.isListed = true } }
  func markRemoved() { state.withLock { $0.isRemoved = true } }
}
