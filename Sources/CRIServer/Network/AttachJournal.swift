import PodNetwork
import Synchronization

/// What attaches cost and why they failed, since the daemon's start.
final class AttachJournal: Sendable {
  private struct State {
    var steps: [String: (count: Int, total: Duration)] = [:]
    var errors: [String: Int] = [:]
  }

  private let state = Mutex(State())

  func attached(_ steps: [(name: String, duration: Duration)]) {
    state.withLock { state in
      for (name, duration) in steps {
        let known = state.steps[name] ?? (0, .zero)
        state.steps[name] = (known.count + 1, known.total + duration)
      }
    }
  }

  /// - Parameter error: counted by its kind, the name of its case.
  func failed(_ error: any Error) {
    let kind = Mirror(reflecting: error).children.first?.label ?? "other"
    state.withLock { $0.errors[kind, default: 0] += 1 }
  }

  /// A summary each of the steps' times, and the failures by kind.
  var metrics: [NetworkMetric] {
    let (steps, errors) = state.withLock { ($0.steps, $0.errors) }
    var metrics: [NetworkMetric] = []
    for (step, (count, total)) in steps.sorted(by: { $0.key < $1.key }) {
      let seconds = Double(total.components.seconds) + Double(total.components.attoseconds) / 1e18
      let help = "Time of the steps of an attach."
      metrics.append(
        NetworkMetric("podnet_attach_seconds_sum", .counter, help, labels: ["step": step], seconds))
      metrics.append(
        NetworkMetric("podnet_attach_seconds_count", .counter, help, labels: ["step": step], Double(count)))
    }
    for (kind, count) in errors.sorted(by: { $0.key < $1.key }) {
      metrics.append(
        NetworkMetric(
          "podnet_attach_errors", .counter, "Attaches that failed.", labels: ["kind": kind], Double(count)))
    }
    return metrics
  }
}
