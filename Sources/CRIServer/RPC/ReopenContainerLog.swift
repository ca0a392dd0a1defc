import CRIProtocol
import GRPCCore
import RuntimeModel
import ShimProtocol

extension RuntimeService {
  /// Goes on in a new file at the container's log path; between two records, and the file is there when this returns.
  /// When it fails the old file stays in use and no new one is made.
  func reopenContainerLog(
    request: Runtime_V1_ReopenContainerLogRequest, context: ServerContext
  ) async throws -> Runtime_V1_ReopenContainerLogResponse {
    let container = try daemon.presentContainer(request.containerID)
    guard container.record.state == .running, let shim = daemon.sandboxes[container.sandboxID]?.shim else {
      throw RuntimeError(.failedPrecondition, "\(container.subject) is not running")
    }
    var reopening = Swiftlet_Shim_V1_ReopenLogRequest()
    reopening.containerID = container.id.value
    do throws(ShimCallError) {
      _ = try await shim.reopenLog(reopening, deadline: .now + .seconds(10))
    } catch {
      // Between the look above and the call it may have ended, and the shim may have forgotten it.
      let isGone = error.origin == .shim && error.code == .notFound
      throw RuntimeError(
        isGone ? .failedPrecondition : error.code, "log of \(container.subject): \(error.message)")
    }
    return Runtime_V1_ReopenContainerLogResponse()
  }
}
