import ImageStore
import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol
import Store

/// What is left of pods and containers that nobody can name any more: their records do not read, or are gone. No client
/// can stop them, and kubelet makes its pod anew, so they are ended here; then their names and addresses are free.
///
/// Identifiers are random and ours, so that whatever bears one is ours, too: a group anywhere in the cgroup trees, a
/// run directory, a snapshot. The last two go last: as long as they are there, the next daemon tries again.
struct Orphans: Sendable {
  let daemon: Daemon
  /// By identifier, with the reason.
  private(set) var sandboxes: [Identifier: String]
  private(set) var containers: [Identifier: String]

  /// How long a shim may take to stop its pod before that is done over its head.
  private static let patience = Duration.seconds(2)
  /// Until what did not go is tried again: each time twice as long, up to the second.
  private static let pauses = (first: Duration.seconds(10), longest: Duration.seconds(600))

  /// - Parameter records: of which the usable ones are in the daemon's tables. No request may be under way: what is being
  ///   made has no record yet.
  init(daemon: Daemon, _ records: Records) throws {
    self.daemon = daemon
    sandboxes = records.unusableSandboxes
    containers = records.unusableContainers
    for name in fileNames("\(daemon.configuration.state)/pods") {
      guard let id = Identifier(name), daemon.sandboxes[id] == nil else { continue }
      sandboxes[id] = sandboxes[id] ?? "it has no record"
    }
    for id in try daemon.images.snapshotKeys() where daemon.containers[id] == nil {
      containers[id] = containers[id] ?? "it has no record"
    }
  }

  /// Ends them all, now where that is possible, else in the background for as long as it takes.
  func end() async {
    let left = await attempt()
    guard !left.isEmpty else { return }
    Task {
      var (left, pause) = (left, Self.pauses.first)
      while !left.isEmpty {
        do { try await Task.sleep(for: pause) } catch { return }
        left = await left.attempt()
        pause = min(pause * 2, Self.pauses.longest)
      }
    }
  }

  private var isEmpty: Bool { sandboxes.isEmpty && containers.isEmpty }

  /// - Returns: those of which something is left.
  private func attempt() async -> Orphans {
    guard !isEmpty else { return self }
    await withTaskGroup { group in
      for id in sandboxes.keys { group.addTask { await stop(id) } }
    }
    var left = self
    let groups: [Cgroup]
    do {
      let names = Set(sandboxes.keys.map(\.value) + containers.keys.map(\.value))
      groups = try await daemon.threads.run { [daemon] in try daemon.cgroups.groups(named: names) }
    } catch {
      daemon.logger.error("orphaned pods cannot be looked for", metadata: ["error": "\(error)"])
      return self
    }
    for (id, reason) in containers where await end(.container, id, reason, groups) { left.containers[id] = nil }
    for (id, reason) in sandboxes where await end(.sandbox, id, reason, groups) { left.sandboxes[id] = nil }
    return left
  }

  /// The shim ends its pod, with the last lines of its logs. One that is gone or does not answer is no hindrance.
  private func stop(_ id: Identifier) async {
    let directory = daemon.configuration.runDirectory(of: id.value)
    do {
      let deadline = ContinuousClock.now + Self.patience
      let shim = try await ShimProcess.connect(directory: directory, deadline: deadline)
      defer { shim.close() }
      _ = try await shim.stopSandbox(deadline: deadline)
      _ = try await shim.shutdown(deadline: deadline)
    } catch {
      daemon.logger.debug("an orphaned pod is not stopped by its shim", metadata: ["error": "\(error)"])
    }
  }

  /// - Returns: whether nothing is left.
  private func end(_ kind: DamagedRow.Kind, _ id: Identifier, _ reason: String, _ groups: [Cgroup]) async -> Bool {
    let own = groups.filter { $0.path.hasSuffix("/\(id)") }
    do {
      let ended = try await daemon.threads.run {
        var ended = 0
        for cgroup in own {
          ended += try cgroup.processes().count
          try cgroup.kill()
          try cgroup.remove(deadline: .seconds(5))
        }
        return ended
      }
      try await remove(kind, id)
      daemon.logger.warning(
        "what was left of a \(kind.rawValue) is removed: nobody could stop it any more",
        metadata: [
          "\(kind.rawValue)": "\(id)", "reason": "\(reason)", "killed": "\(ended) processes",
          "cgroup": "\(own.map(\.path).joined(separator: " "))",
        ])
      return true
    } catch {
      daemon.logger.error(
        "what is left of a \(kind.rawValue) does not go, and is tried again",
        metadata: ["\(kind.rawValue)": "\(id)", "reason": "\(reason)", "error": "\(error)"])
      return false
    }
  }

  /// The row first, which frees the name: a directory that does not go is in nobody's way.
  private func remove(_ kind: DamagedRow.Kind, _ id: Identifier) async throws {
    let directory = daemon.configuration.runDirectory(of: id.value)
    try await daemon.threads.run { [store = daemon.store] in
      switch kind {
      case .sandbox:
        try store.remove(sandbox: id)
        try HostFiles.removeTree(directory)
      case .container: try store.remove(container: id)
      }
    }
    if kind == .container { try await daemon.images.removeSnapshot(key: id) }
  }
}
