import ImageStore
import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol
import Store

/// What a daemon does before it answers: makes its objects from the records and reconciles them with what the kernel and
/// the shims show (CRI.md 3.5). One bad record or one dead shim never stops the start.
struct Recovery: Sendable {
  let daemon: Daemon

  /// How long a shim may take to connect and answer before its pod counts as lost: the start of the daemon, and with
  /// it every other pod, waits for it.
  private static let patience = Duration.seconds(5)
  /// How long a start may take that the last daemon has asked for.
  private static let startPatience = Duration.seconds(2)
  private static let reboot = "the node was restarted"

  /// - Throws: ``LaterFormat`` before anything is changed, when a shim speaks a later protocol.
  func run(_ records: Records) async throws {
    for sandbox in records.sandboxes {
      daemon.sandboxes.insert(sandbox, id: sandbox.id, name: sandbox.record.metadata.key)
    }
    for container in records.containers {
      daemon.containers.insert(
        container, id: container.id, name: container.record.metadata.key(in: container.sandboxID))
    }
    let reached = await reach()
    for (id, result) in reached {
      guard case .success(let shim) = result, shim.protocolVersion > ShimClient.protocolVersion else { continue }
      throw LaterFormat(
        subject: "the protocol of sandbox \(id)'s shim at \(daemon.configuration.runDirectory(of: id.value))",
        found: Int64(shim.protocolVersion), known: Int64(ShimClient.protocolVersion))
    }
    await withTaskGroup { group in
      for sandbox in daemon.sandboxes.all { group.addTask { await recover(sandbox, reached[sandbox.id]) } }
    }
    await removeOrphans(records)
    daemon.logger.info(
      "recovered",
      metadata: ["sandboxes": "\(daemon.sandboxes.all.count)", "containers": "\(daemon.containers.all.count)"])
  }

  /// A shim, and what it holds.
  private struct Reached: Sendable {
    var shim: ShimClient
    var state: Swiftlet_Shim_V1_StateResponse

    var protocolVersion: UInt32 { max(1, state.protocolVersion) }
  }

  /// All shims that there should be.
  private func reach() async -> [Identifier: Result<Reached, any Error>] {
    await withTaskGroup { group in
      for sandbox in daemon.sandboxes.all where isReachable(sandbox.record) {
        group.addTask {
          do {
            return (sandbox.id, Result<Reached, any Error>.success(try await reach(sandbox)))
          } catch {
            return (sandbox.id, Result<Reached, any Error>.failure(error))
          }
        }
      }
      return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
  }

  private func isReachable(_ record: SandboxRecord) -> Bool {
    record.bootID == daemon.bootID && record.state != .creating && !record.isReleased
  }

  private func reach(_ sandbox: Sandbox) async throws -> Reached {
    let directory = daemon.configuration.runDirectory(of: sandbox.id.value)
    let shim = try await ShimProcess.connect(directory: directory, deadline: .now + Self.patience)
    do {
      return Reached(shim: shim, state: try await state(of: shim))
    } catch {
      shim.close()
      throw error
    }
  }

  private func recover(_ sandbox: Sandbox, _ reached: Result<Reached, any Error>?) async {
    do {
      let record = sandbox.record
      if record.bootID != daemon.bootID {
        try await afterReboot(sandbox)
      } else if record.state == .creating {
        try await SandboxStop(daemon: daemon, sandbox: sandbox).release()
        try await daemon.forget(sandbox)
      } else if let reached {
        try await reconnect(sandbox, reached)
      }
    } catch {
      daemon.logger.error("a sandbox is not recovered", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
      _ = sandbox.update { $0.state = .notReady }
      sandbox.show()
    }
  }

  /// Nothing of an earlier boot is alive.
  private func afterReboot(_ sandbox: Sandbox) async throws {
    for container in daemon.containers(of: sandbox.id) {
      try await ContainerExit(daemon: daemon, container: container).recordLost(because: Self.reboot)
    }
    if sandbox.record.state == .creating {
      try await daemon.forget(sandbox)
    } else {
      try await daemon.settle(sandbox) { record in
        record.becomeNotReady(because: Self.reboot)
        record.lease = nil
        record.pluginAddresses = nil
        record.isReleased = true
      }
    }
  }

  private func reconnect(_ sandbox: Sandbox, _ reached: Result<Reached, any Error>) async throws {
    do {
      let found = try reached.get()
      sandbox.connect(found.shim)
      try await reconcile(sandbox, with: found.state)
      ExitFollower(daemon: daemon, sandbox: sandbox, shim: found.shim).start()
    } catch {
      daemon.logger.error("the shim of a sandbox is lost", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
      sandbox.connect(nil)
      try await daemon.settle(sandbox) { $0.becomeNotReady(because: "the shim was lost while no daemon ran: \(error)") }
      try await SandboxStop(daemon: daemon, sandbox: sandbox).release()
    }
  }

  /// What the shim holds, once the starts are done that the last daemon has asked it for; they may take a while.
  private func state(of shim: ShimClient) async throws -> Swiftlet_Shim_V1_StateResponse {
    let end = ContinuousClock.now + Self.startPatience
    while true {
      let state = try await shim.state(deadline: .now + Self.patience)
      guard state.tasks.contains(where: \.isStarting), ContinuousClock.now < end else { return state }
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  /// The shim knows what runs and what has ended; the exits it still holds come through the follower.
  private func reconcile(_ sandbox: Sandbox, with state: Swiftlet_Shim_V1_StateResponse) async throws {
    if state.pausePid == 0 {
      try await daemon.settle(sandbox) { $0.becomeNotReady(because: "pause has ended") }
    }
    let tasks = Dictionary(state.tasks.map { ($0.containerID, $0) }, uniquingKeysWith: { $1 })
    let exited = Set(state.exits.map(\.containerID))
    for container in daemon.containers(of: sandbox.id) {
      let record = container.record
      let task = tasks[container.id.value]
      if record.state == .exited {
        // Its start has failed for the last daemon, and for that alone.
        if task != nil { await daemon.discardProcesses(of: container) }
      } else if let task, !task.isStarting {
        guard record.startedAt == 0 else { continue }
        try await daemon.settle(container) { record in
          record.isStarting = false
          record.startedAt = task.startedAt
          record.process = Pidfd.processIdentity(pid: task.pid)
        }
      } else if !exited.contains(container.id.value) {
        try await settle(container, record)
      }
    }
  }

  /// The shim has not started it, or its end was lost. A start that takes too long is broken off: nobody waits for it.
  private func settle(_ container: Container, _ record: ContainerRecord) async throws {
    if record.state == .running {
      try await ContainerExit(daemon: daemon, container: container).recordLost(because: "its shim does not know of it")
    } else if record.isStarting {
      await daemon.discardProcesses(of: container)
      try await daemon.settle(container) { $0.isStarting = false }
    }
  }

  private func removeOrphans(_ records: Records) async {
    do {
      for row in records.nameless { try await daemon.threads.run { [daemon] in try daemon.store.remove(row) } }
      try await Orphans(daemon: daemon, records).end()
    } catch {
      daemon.logger.error("orphans of an earlier daemon are left", metadata: ["error": "\(error)"])
    }
  }
}

extension Swiftlet_Shim_V1_Task {
  /// Its process is there, and has not exec'd the program.
  fileprivate var isStarting: Bool { startedAt == 0 }
}
