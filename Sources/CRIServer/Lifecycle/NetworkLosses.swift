import Logging
import PodNetwork
import RuntimeModel

/// A sandbox whose network interface vanishes is NotReady from then on, and is not attached again: kubelet makes a new
/// one, with everything in it knowing its address from the start.
extension Daemon {
  /// Follows until the network is shut down.
  func followLosses() {
    guard let losses = nodeNetwork?.losses else { return }
    Task { [weak self] in
      for await loss in losses { await self?.lost(loss) }
    }
  }

  func lost(_ loss: NetworkLoss) async {
    guard let sandbox = sandboxes[loss.sandbox], sandbox.isReady else { return }
    logger.error(
      "a sandbox has lost its network and is not ready any more",
      metadata: ["sandbox": "\(sandbox.id)", "reason": "\(loss.reason)"])
    do {
      try await settle(sandbox) { $0.becomeNotReady(because: loss.reason) }
    } catch {
      logger.error("a lost network could not be recorded", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
    }
  }
}
