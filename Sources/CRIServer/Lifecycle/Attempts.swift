import GRPCCore
import RuntimeModel
import Synchronization

/// Names under which something is being made, so that a retry of the same request waits for the first attempt and gets
/// its result instead of an error that would make kubelet count up the attempt and waste the work (CRI.md 1.3).
final class Attempts<Request: Equatable & Sendable>: Sendable {
  private struct Attempt {
    var request: Request
    var stages: Stages
    var settled: Latch
    var task: Task<Identifier, any Error>
  }

  private let running = Mutex<[String: Attempt]>([:])

  /// Runs `body` for `request` under `name`, or joins the attempt that is under way for an equal one.
  ///
  /// The work goes on when the caller leaves: its result waits for the retry.
  /// - Parameters:
  ///   - name: the reserved key.
  ///   - subject: what it is, for errors, e.g. `RunPodSandbox default/web attempt 0`.
  /// - Throws: what the work threw; `alreadyExists` when another request holds the name; `deadlineExceeded` with the
  ///   stage that is being waited for when the caller's deadline passes first.
  func join(
    name: String, subject: String, request: Request, context: ServerContext,
    body: @escaping @Sendable (Stages) async throws -> Identifier
  ) async throws -> Identifier {
    let attempt: Attempt? = running.withLock { running in
      if let present = running[name] { return present.request == request ? present : nil }
      let stages = Stages()
      let settled = Latch()
      let task = Task { [self] in
        defer {
          self.running.withLock { _ = $0.removeValue(forKey: name) }
          settled.open()
        }
        return try await body(stages)
      }
      let attempt = Attempt(request: request, stages: stages, settled: settled, task: task)
      running[name] = attempt
      return attempt
    }
    guard let attempt else {
      throw RuntimeError(.alreadyExists, "\(subject): a different request under the same name is under way")
    }
    return try await Self.result(of: attempt, subject: subject, context: context)
  }

  private static func result(
    of attempt: Attempt, subject: String, context: ServerContext
  ) async throws -> Identifier {
    let waiting = Task { await attempt.settled.wait() }
    return try await withRPCCancellationHandler {
      guard await waiting.value else {
        throw RuntimeError(.deadlineExceeded, "\(subject) is still at stage \(attempt.stages.current)")
      }
      return try await attempt.task.value
    } onCancelRPC: {
      waiting.cancel()
    }
  }
}
