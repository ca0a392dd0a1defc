import CRIProtocol
import Foundation
import Glibc
import SwiftProtobuf

/// Brings a pod up: images, sandbox, containers; and takes back what it made when a step fails.
struct PodPlayer: Sendable {
  let connection: RuntimeConnection
  let terminal: Terminal

  struct Outcome: Sendable {
    var pod: PodManifest
    var sandbox: Runtime_V1_PodSandboxStatus
    var containers: [Runtime_V1_ContainerStatus]
    var timings: [(step: String, duration: Duration)] = []
    var isNew = true
  }

  /// - Parameters:
  ///   - manifest: what the sandbox is to remember of its manifest; nil for a pod without one.
  /// - Throws: ``ClientError``; nothing is left of the pod then.
  func start(_ pod: PodManifest, _ plan: PodPlan, manifest: Value?) async throws -> Outcome {
    var timings: [(step: String, duration: Duration)] = []
    var images: [String: Runtime_V1_Image] = [:]
    for container in pod.containers where images[container.image] == nil {
      let start = ContinuousClock.now
      let (image, wasPulled) = try await self.image(of: container, in: pod)
      images[container.image] = image
      guard wasPulled else { continue }
      timings.append(step("pull", container.image, "", since: start))
    }
    let config = SandboxRequest.config(pod, plan, manifest: manifest)
    let containerConfigs = try pod.containers.map { container in
      try ContainerRequest.config(container, in: pod, image: images[container.image] ?? .init(), plan)
    }
    var sandboxID = ""
    do {
      try PodDirectories.prepare(pod, plan)
      let start = ContinuousClock.now
      sandboxID = try await Self.shielded { try await runSandbox(config, pod) }
      try Task.checkCancellation()
      let status = try await sandboxStatus(sandboxID, pod)
      timings.append(step("sandbox", status.network.ip, Humane.shortID(sandboxID), since: start))
      var started: [Runtime_V1_ContainerStatus] = []
      for containerConfig in containerConfigs {
        let (container, duration) = try await startContainer(containerConfig, sandboxID, config, pod)
        started.append(container)
        timings.append(duration)
      }
      return Outcome(pod: pod, sandbox: status, containers: started, timings: timings)
    } catch {
      // In a task of its own: this one may have been cancelled, and the clearing up must happen all the same.
      let (id, failure) = (sandboxID, error)
      throw await Task { await undo(id, config, pod, after: failure) }.value
    }
  }

  private func image(
    of container: ContainerManifest, in pod: PodManifest
  ) async throws -> (Runtime_V1_Image, wasPulled: Bool) {
    let fetch = ImageFetch(connection: connection)
    let policy = container.effectivePullPolicy
    if policy != .always, let present = try await fetch.status(container.image) { return (present, false) }
    guard policy != .never else {
      throw ClientError(
        .failed, "cannot create container \(pod.qualifiedName)/\(container.name)",
        why: "image \(container.image) is not present and imagePullPolicy is Never",
        remedy: "swiftlet load FILE, or swiftlet pull \(container.image)")
    }
    let reference = try await fetch.pull(container.image)
    if let image = try await fetch.status(reference) { return (image, true) }
    if let image = try await fetch.status(container.image) { return (image, true) }
    throw ClientError(
      .failed, "cannot use image \(container.image)", why: "the runtime pulled it as \(reference), but does not know it"
    )
  }

  /// Lets a call that makes something come to its end although this task is cancelled: only its answer tells what
  /// there is to take back.
  private static func shielded<Result: Sendable>(
    _ body: @escaping @Sendable () async throws -> Result
  ) async throws -> Result {
    try await Task { try await body() }.value
  }

  private func runSandbox(_ config: Runtime_V1_PodSandboxConfig, _ pod: PodManifest) async throws -> String {
    try await connection.call(
      "run the sandbox of pod \(pod.qualifiedName)", waiting: "sandbox of \(pod.qualifiedName)",
      deadline: .seconds(240)
    ) { connection, options in
      try await connection.runtime.runPodSandbox(.with { $0.config = config }, options: options).podSandboxID
    }
  }

  private func sandboxStatus(_ id: String, _ pod: PodManifest) async throws -> Runtime_V1_PodSandboxStatus {
    try await connection.call("ask for the status of pod \(pod.qualifiedName)", deadline: .seconds(30)) {
      connection, options in
      try await connection.runtime.podSandboxStatus(.with { $0.podSandboxID = id }, options: options).status
    }
  }

  private func startContainer(
    _ config: Runtime_V1_ContainerConfig, _ sandboxID: String, _ sandboxConfig: Runtime_V1_PodSandboxConfig,
    _ pod: PodManifest
  ) async throws -> (Runtime_V1_ContainerStatus, (step: String, duration: Duration)) {
    let name = "\(pod.qualifiedName)/\(config.metadata.name)"
    let start = ContinuousClock.now
    let request = Runtime_V1_CreateContainerRequest.with {
      $0.podSandboxID = sandboxID
      $0.config = config
      $0.sandboxConfig = sandboxConfig
    }
    let id = try await connection.call("create container \(name)", waiting: "creating \(name)") { connection, options in
      try await connection.runtime.createContainer(request, options: options).containerID
    }
    try await connection.call("start container \(name)", waiting: "starting \(name)") { connection, options in
      _ = try await connection.runtime.startContainer(.with { $0.containerID = id }, options: options)
    }
    let duration = step("container \(config.metadata.name)", "", Humane.shortID(id), since: start)
    let status = try await connection.call("ask for the status of container \(name)", deadline: .seconds(30)) {
      connection, options in
      try await connection.runtime.containerStatus(.with { $0.containerID = id }, options: options).status
    }
    return (status, duration)
  }

  /// Says that a step is done, and how long it took.
  private func step(
    _ name: String, _ detail: String, _ id: String, since start: ContinuousClock.Instant
  ) -> (step: String, duration: Duration) {
    let duration = ContinuousClock.now - start
    let columns = [name.padded(to: 20), detail.padded(to: 24), id.padded(to: 12)].joined(separator: " ")
    terminal.note("  \(terminal.paintNote("✓", .green)) \(columns) \(Humane.duration(duration))")
    return (name, duration)
  }

  /// Takes the sandbox and the directories back; returns the failure, with what was removed or could not be.
  private func undo(
    _ sandboxID: String, _ config: Runtime_V1_PodSandboxConfig, _ pod: PodManifest, after failure: any Error
  ) async -> any Error {
    var removed: [String] = []
    var left: [String] = []
    let life = PodLife(connection: connection)
    do {
      // By its uid too: a call that timed out may have made a sandbox all the same.
      let inventory = try await Inventory.load(connection)
      for sandbox in inventory.sandboxes where sandbox.id == sandboxID || sandbox.metadata.uid == config.metadata.uid {
        // No grace: nothing of this pod has been of use to anybody yet.
        try await life.stop(sandbox, containers: inventory.containers(of: sandbox), grace: 0)
        try await life.remove(sandbox)
        removed.append("removed again: the sandbox \(Humane.shortID(sandbox.id)) and its containers")
      }
    } catch {
      let name = sandboxID.isEmpty ? "perhaps a sandbox" : "the sandbox \(sandboxID)"
      left.append("left behind: \(name) (\(error))")
    }
    if left.isEmpty { PodLife.removeDirectories(config.metadata, config.annotations) }
    var told =
      failure as? ClientError ?? ClientError(.failed, "cannot start pod \(pod.qualifiedName)", why: "\(failure)")
    if failure is CancellationError {
      told = ClientError(.interrupted, "cannot start pod \(pod.qualifiedName)", why: "interrupted")
    }
    told.details += removed + left
    if !left.isEmpty, told.remedy == nil { told.remedy = "swiftlet rm --force \(pod.qualifiedName)" }
    return told
  }
}

extension PodPlan {
  /// A plan for a new pod on this node.
  static func here(logRoot: String, volumeRoot: String) -> PodPlan {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    let resolver = FileManager.default.contents(atPath: "/etc/resolv.conf") ?? Data()
    return PodPlan(
      uid: UUID().uuidString.lowercased(), logRoot: absolute(logRoot), volumeRoot: absolute(volumeRoot),
      nodeResolver: String(decoding: resolver, as: UTF8.self),
      nodeMemoryBytes: Int64(max(0, pages)) * Int64(sysconf(Int32(_SC_PAGESIZE))))
  }

  private static func absolute(_ path: String) -> String {
    let whole = path.hasPrefix("/") ? path : "\(FileManager.default.currentDirectoryPath)/\(path)"
    return whole.count > 1 && whole.hasSuffix("/") ? String(whole.dropLast()) : whole
  }
}
