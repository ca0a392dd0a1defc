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

  /// How long a shim may take to connect before its pod counts as lost: the start of the daemon, and with it every
  /// other pod, waits for it.
  private static let patience = Duration.seconds(5)
  /// How long one that is connected may be silent. Its process is there, and may be held up by a disk or a busy node.
  private static let silence = Duration.seconds(15)
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
    let asked = await askAll()
    try checkProtocols(asked)
    let answers = Dictionary(asked.map { ($0.id, $0) }) { first, _ in first }
    await withTaskGroup(of: Void.self) { group in
      for sandbox in daemon.sandboxes.all {
        let answer = answers[sandbox.id]
        group.addTask { await recover(sandbox, answer) }
      }
    }
    await removeOrphans(records)
    daemon.logger.info(
      "recovered",
      metadata: ["sandboxes": "\(daemon.sandboxes.all.count)", "containers": "\(daemon.containers.all.count)"])
  }

  /// What became of the question to one shim.
  ///
  /// A class, and no Result: Swift 6.3.1's optimiser released a dictionary of `Result<struct, any Error>` once too
  /// often. Objects it keeps, in a dictionary as well.
  private final class Asked: Sendable {
    let id: Identifier
    /// Nil after a failure.
    let shim: ShimClient?
    let state: Swiftlet_Shim_V1_StateResponse
    let failure: String

    init(_ id: Identifier, _ shim: ShimClient, _ state: Swiftlet_Shim_V1_StateResponse) {
      self.id = id
      self.shim = shim
      self.state = state
      failure = ""
    }

    init(_ id: Identifier, failure: String) {
      self.id = id
      shim = nil
      state = Swiftlet_Shim_V1_StateResponse()
      self.failure = failure
    }
  }

  /// Asks all shims that there should be.
  private func askAll() async -> [Asked] {
    await withTaskGroup(of: Asked.self) { group in
      for sandbox in daemon.sandboxes.all where isReachable(sandbox.record) {
        group.addTask { await ask(sandbox) }
      }
      var all: [Asked] = []
      for await one in group { all.append(one) }
      return all
    }
  }

  /// - Throws: ``LaterFormat`` when one speaks a later protocol.
  private func checkProtocols(_ asked: [Asked]) throws {
    for one in asked where max(1, one.state.protocolVersion) > ShimClient.protocolVersion {
      throw LaterFormat(
        subject: "the protocol of sandbox \(one.id)'s shim at \(daemon.configuration.runDirectory(of: one.id.value))",
        found: Int64(one.state.protocolVersion), known: Int64(ShimClient.protocolVersion))
    }
  }

  private func isReachable(_ record: SandboxRecord) -> Bool {
    record.bootID == daemon.bootID && record.state != .creating && !record.isReleased
  }

  private func ask(_ sandbox: Sandbox) async -> Asked {
    let directory = daemon.configuration.runDirectory(of: sandbox.id.value)
    do {
      let shim = try await ShimProcess.connect(directory: directory, deadline: .now + Self.patience)
      do {
        let warning = Task { [logger = daemon.logger] in
          try await Task.sleep(for: Self.patience)
          logger.warning("a sandbox's shim does not answer yet", metadata: ["sandbox": "\(sandbox.id)"])
        }
        defer { warning.cancel() }
        return Asked(sandbox.id, shim, try await state(of: shim))
      } catch {
        shim.close()
        throw error
      }
    } catch {
      return Asked(sandbox.id, failure: "\(error)")
    }
  }

  private func recover(_ sandbox: Sandbox, _ asked: Asked?) async {
    do {
      let record = sandbox.record
      if record.bootID != daemon.bootID {
        try await afterReboot(sandbox)
      } else if record.state == .creating {
        try await SandboxStop(daemon: daemon, sandbox: sandbox).release()
        try await daemon.forget(sandbox)
      } else if let asked {
        try await reconnect(sandbox, asked)
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

  private func reconnect(_ sandbox: Sandbox, _ asked: Asked) async throws {
    guard let shim = asked.shim else { return try await lose(sandbox, because: asked.failure) }
    do {
      sandbox.connect(shim)
      try await reconcile(sandbox, with: asked.state)
      ExitFollower(daemon: daemon, sandbox: sandbox, shim: shim).start()
    } catch {
      try await lose(sandbox, because: "\(error)")
    }
  }

  private func lose(_ sandbox: Sandbox, because reason: String) async throws {
    daemon.logger.error("the shim of a sandbox is lost", metadata: ["sandbox": "\(sandbox.id)", "error": "\(reason)"])
    sandbox.connect(nil)
    try await daemon.settle(sandbox) { $0.becomeNotReady(because: "the shim was lost while no daemon ran: \(reason)") }
    try await SandboxStop(daemon: daemon, sandbox: sandbox).release()
  }

  /// What the shim holds, once the starts are done that the last daemon has asked it for; they may take a while.
  private func state(of shim: ShimClient) async throws -> Swiftlet_Shim_V1_StateResponse {
    let end = ContinuousClock.now + Self.startPatience
    while true {
      let state = try await shim.state(deadline: .now + Self.silence)
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
