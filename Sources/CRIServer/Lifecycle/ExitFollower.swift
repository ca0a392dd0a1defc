import LinuxSystem
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
    var (received, acknowledged): (UInt64, UInt64) = (0, 0)
    while true {
      var request = Swiftlet_Shim_V1_WaitExitsRequest()
      request.acknowledged = acknowledged
      do {
        for exit in try await shim.waitExits(request).exits where exit.sequence > received {
          try await record(exit)
          received = exit.sequence
        }
        // What only we know is not forgotten by the shim: the next daemon would ask it.
        if daemon.unwritten.isEmpty { acknowledged = received } else { try await Task.sleep(for: .seconds(1)) }
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
      try await daemon.settle(sandbox, failpoint: .pauseRecord) { $0.becomeNotReady(because: "pause has ended") }
      daemon.logger.info("pause has ended", metadata: ["sandbox": "\(sandbox.id)"])
      return
    }
    guard let id = Identifier(exit.containerID), let container = daemon.containers[id] else { return }
    try await ContainerExit(daemon: daemon, container: container).record(exit)
  }

  /// The connection broke: the shim has died, unless a stop of the pod has just ended it, which holds the lane then.
  private func shimIsGone() async {
    do {
      try await ShimLoss(daemon: daemon, sandbox: sandbox, shim: shim).settle(because: "the shim has died")
    } catch {
      daemon.logger.error(
        "a pod without shim is not fully released", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
    }
  }
}
