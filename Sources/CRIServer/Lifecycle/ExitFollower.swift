import Logging
import RuntimeModel
import ShimProtocol

/// Takes the exits of one sandbox from its shim, writes each down, and only then lets the shim forget it.
struct ExitFollower: Sendable {
  let daemon: Daemon
  let sandbox: Sandbox
  let shim: ShimClient

  /// Follows until the shim ends. The task is not stored: it ends with the shim's connection, which
  /// ``Sandbox/shim`` owns.
  func start() {
    Task { await follow() }
  }

  private func follow() async {
    var acknowledged: UInt64 = 0
    while true {
      var request = Swiftlet_Shim_V1_WaitExitsRequest()
      request.acknowledged = acknowledged
      do {
        for exit in try await shim.waitExits(request).exits {
          try await record(exit)
          acknowledged = max(acknowledged, exit.sequence)
        }
      } catch let error as ShimCallError where error.origin == .connection(.closedHere) {
        return
      } catch let error as ShimCallError where error.isConnectionLoss {
        await shimIsGone()
        return
      } catch {
        // The store refused: the exit stays with the shim, and the next round brings it again.
        daemon.logger.error(
          "an exit could not be recorded", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
        do { try await Task.sleep(for: .seconds(1)) } catch { return }
      }
    }
  }

  private func record(_ exit: Swiftlet_Shim_V1_Exit) async throws {
    guard !exit.containerID.isEmpty else {
      daemon.logger.info("pause has ended", metadata: ["sandbox": "\(sandbox.id)"])
      if sandbox.isReady { sandbox.isNotReady(because: "pause has ended") }
      try await daemon.save(sandbox) { $0.state = .notReady }
      return
    }
    guard let id = Identifier(exit.containerID), let container = daemon.containers[id] else { return }
    try await ContainerExit(daemon: daemon, container: container).record(exit)
  }

  /// The connection broke although nobody stopped the pod: the shim has died. Nobody watches the pod's processes any
  /// more, so they are ended, and the sandbox shows NotReady until StopPodSandbox takes the rest away.
  private func shimIsGone() async {
    guard sandbox.shim === shim, sandbox.isReady else { return }
    daemon.logger.error("the shim has died; its pod is ended", metadata: ["sandbox": "\(sandbox.id)"])
    sandbox.isNotReady(because: "the shim has died")
    sandbox.connect(nil)
    do {
      try await daemon.save(sandbox) { $0.state = .notReady }
      try await sandbox.lane.run {
        try await SandboxStop(daemon: daemon, sandbox: sandbox).release()
      }
    } catch {
      daemon.logger.error(
        "a pod without shim is not fully released", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
    }
  }
}
