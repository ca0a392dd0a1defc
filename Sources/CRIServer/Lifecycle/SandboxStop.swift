import LinuxSystem
import Logging
import PodNetwork
import RuntimeModel
import ShimProtocol
import Store

/// Takes a sandbox's processes, network and files away. Each step looks at what is there and may be repeated.
struct SandboxStop: Sendable {
  let daemon: Daemon
  let sandbox: Sandbox

  /// How long the shim may take to kill and reap everything before the cgroups are killed over its head.
  private static let patience = Duration.seconds(10)
  /// How long it usually takes at most, and a shim that works for any answer.
  private static let shortPatience = Duration.seconds(2)

  /// StopPodSandbox: no container runs and nothing of the pod is left when it returns; the record stays.
  func stop() async throws {
    guard !sandbox.record.isReleased else { return }
    try Failpoint.stopMark.pass()
    try await daemon.settle(sandbox) { $0.state = .notReady }
    try await release()
  }

  /// Also the undo of a start that failed half-way: the steps go by identity and never by what was made.
  /// - Throws: the first failure, after every step was tried.
  func release() async throws {
    var failure: (any Error)?
    func attempt(_ step: String, _ body: () async throws -> Void) async {
      do {
        try await body()
      } catch {
        daemon.logger.error(
          "release of a sandbox: a step failed",
          metadata: ["sandbox": "\(sandbox.id)", "step": "\(step)", "error": "\(error)"])
        failure = failure ?? error
      }
    }
    Failpoint.stopNetwork.reach()
    // First: the end of pause takes the link along, and the network would count that as a loss.
    await attempt("detach network") { try await daemon.network.detach(sandbox) }
    await attempt("end processes") {
      try Failpoint.stopProcesses.pass()
      try await endProcesses()
    }
    await attempt("settle containers") {
      try Failpoint.stopContainers.pass()
      try await settleContainers()
    }
    await attempt("remove cgroups") {
      try Failpoint.stopCgroups.pass()
      try await removeCgroups()
    }
    await attempt("remove files") {
      try Failpoint.stopFiles.pass()
      try await removeFiles()
    }
    if let failure { throw failure }
    try Failpoint.stopRecord.pass()
    try await daemon.settle(sandbox) { record in
      record.state = .notReady
      record.lease = nil
      record.pluginAddresses = nil
      record.isReleased = true
    }
  }

  /// The shim ends its processes and then itself; one that does not is killed with all of them.
  private func endProcesses() async throws {
    if let shim = sandbox.shim {
      do {
        try await noteKills()
        try await stopPod(shim)
        // What has ended is recorded by the follower of the shim's exits, which needs the shim until then.
        for container in daemon.containers(of: sandbox.id)
        where container.record.state == .running || container.record.isStarting {
          _ = await container.exited.wait(timeout: Self.patience)
        }
        try await shutDown(shim)
      } catch {
        daemon.logger.warning(
          "shim does not stop its pod; its cgroups are killed",
          metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
        try await killEverything()
      }
      shim.close()
      sandbox.connect(nil)
    } else {
      try await killEverything()
    }
    if let shim = sandbox.record.shim { try await ShimProcess.reap(shim, exits: daemon.exits) }
  }

  private func noteKills() async throws {
    let containers = daemon.containers(of: sandbox.id)
    try await daemon.threads.run { for container in containers { container.noteKill() } }
  }

  /// Waits for long only for a shim that shows that it works.
  private func stopPod(_ shim: ShimClient) async throws {
    do throws(ShimCallError) {
      _ = try await shim.stopSandbox(deadline: .now + Self.shortPatience)
      return
    } catch {
      guard error.origin == .deadline else { throw error }
    }
    guard await ShimLoss(daemon: daemon, sandbox: sandbox, shim: shim).answers(within: Self.shortPatience) else {
      throw RuntimeError(.deadlineExceeded, "the shim does not answer")
    }
    _ = try await shim.stopSandbox(deadline: .now + Self.patience)
  }

  /// A shim whose pod has ended leaves by itself a second later, so it may be gone already.
  private func shutDown(_ shim: ShimClient) async throws {
    do throws(ShimCallError) {
      _ = try await shim.shutdown(Swiftlet_Shim_V1_ShutdownRequest(), deadline: .now + Self.patience)
    } catch {
      guard error.isConnectionLoss else { throw error }
    }
  }

  /// Over the shim's head: the containers' cgroups, the pod's, and the shim wherever it is.
  private func killEverything() async throws {
    if let shim = sandbox.record.shim { try ShimProcess.kill(shim) }
    let paths = cgroupPaths
    let cgroups = daemon.cgroups
    try await daemon.reapers.run {
      for path in paths { try cgroups.cgroup(at: path).kill() }
    }
  }

  /// Containers whose exit nobody reported: it is unknown then, and said so.
  private func settleContainers() async throws {
    for container in daemon.containers(of: sandbox.id) {
      try await ContainerExit(daemon: daemon, container: container).recordLost()
    }
  }

  /// Whoever is still in one is nobody's: what the shim knew of has ended.
  private func removeCgroups() async throws {
    let paths = cgroupPaths
    let cgroups = daemon.cgroups
    try await daemon.reapers.run {
      for path in paths {
        let cgroup = cgroups.cgroup(at: path)
        try cgroup.kill()
        try cgroup.remove(deadline: .seconds(5))
      }
    }
  }

  private func removeFiles() async throws {
    let files = SandboxFiles(directory: daemon.configuration.runDirectory(of: sandbox.id.value))
    try await daemon.unwritten.settle(.directory(files.directory)) { [threads = daemon.threads] in
      try await threads.run { try files.remove() }
    }
  }

  private var cgroupPaths: [String] {
    let parent = sandbox.record.cgroupParent
    return daemon.containers(of: sandbox.id).map { "\(parent)/\($0.id)" } + ["\(parent)/\(sandbox.id)"]
  }
}

extension Daemon {
  /// Removes a sandbox's record and its place in memory.
  func forget(_ sandbox: Sandbox) async throws {
    let id = sandbox.id
    try Failpoint.removeRecord.pass()
    try await settleRemoval(sandbox: id)
    sandbox.markRemoved()
    sandboxes.remove(id: id, name: sandbox.record.metadata.key)
  }
}
