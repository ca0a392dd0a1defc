import ArgumentParser
import CRIProtocol
import Foundation
import SwiftProtobuf

/// Where a pod's files on this node go.
struct DirectoryOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Below it each pod gets its log directory.", valueName: "directory"))
  var logRoot = PodPlan.defaultLogRoot

  @Option(help: ArgumentHelp("Below it each pod gets its emptyDir volumes.", valueName: "directory"))
  var volumeRoot = PodPlan.defaultVolumeRoot

  func plan() -> PodPlan { .here(logRoot: logRoot, volumeRoot: volumeRoot) }
}

/// Reading a manifest, for `play` and `down`.
struct ManifestOptions: ParsableArguments {
  @Argument(help: "The manifest, YAML with kind Pod; - for standard input.")
  var file: String

  @Flag(help: "Unknown fields, and those that are not supported, are warnings instead of errors.")
  var lenient = false

  func read() throws -> (documents: [ManifestDocument], remarks: [ManifestProblem]) {
    let name = file == "-" ? "standard input" : file
    let data: Data
    do {
      data = try file == "-" ? FileHandle.standardInput.readToEnd() ?? Data() : Data(contentsOf: URL(filePath: file))
    } catch {
      let isMissing = (error as? CocoaError)?.code == .fileReadNoSuchFile
      throw ClientError(
        isMissing ? .notFound : .failed, "cannot read \(name)",
        why: isMissing ? "there is no such file" : error.localizedDescription)
    }
    guard let text = String(validating: data, as: UTF8.self) else {
      throw ClientError(.failed, "cannot read \(name)", why: "it is not UTF-8 text")
    }
    return try ManifestParser.parse(text, file: name, isLenient: lenient)
  }

  static func tell(_ remarks: [ManifestProblem], _ terminal: Terminal) {
    for remark in remarks {
      if remark.severity == .warning { terminal.warn(remark.description) }
      if remark.severity == .note { terminal.note("note: \(remark)") }
    }
  }
}

struct Play: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Brings up the pods of a manifest.",
    discussion: """
      A pod that is there already and has not changed stays as it is. Without a kubelet nobody restarts a container
      that ends.
      """, aliases: ["apply"])

  @OptionGroup var manifest: ManifestOptions

  @Flag(help: "A pod that is there and has changed is taken down first.")
  var replace = false

  @OptionGroup var directories: DirectoryOptions
  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let terminal = Terminal.current
    let (documents, remarks) = try manifest.read()
    ManifestOptions.tell(remarks, terminal)
    let outcomes = try await global.withRuntime { connection in
      var outcomes: [PodPlayer.Outcome] = []
      for document in documents { outcomes.append(try await play(document, connection, terminal)) }
      return outcomes
    }
    try output.print(.list(outcomes.map(\.value)), table: PodPlayer.Outcome.table(outcomes))
  }

  private func play(
    _ document: ManifestDocument, _ connection: RuntimeConnection, _ terminal: Terminal
  ) async throws -> PodPlayer.Outcome {
    let pod = document.pod
    let inventory = try await Inventory.load(connection)
    let present = inventory.sandboxes.filter { $0.qualifiedName == pod.qualifiedName }
    terminal.note("Pod \(pod.qualifiedName)")
    for sandbox in present {
      if let standing = try await standing(sandbox, document, inventory, connection, terminal) { return standing }
    }
    return try await PodPlayer(connection: connection, terminal: terminal)
      .start(pod, directories.plan(), manifest: document.canonical)
  }

  /// Deals with a pod of the same name.
  ///
  /// - Returns: the pod, if it may stay; nil when it was taken down.
  private func standing(
    _ sandbox: Runtime_V1_PodSandbox, _ document: ManifestDocument, _ inventory: Inventory,
    _ connection: RuntimeConnection, _ terminal: Terminal
  ) async throws -> PodPlayer.Outcome? {
    let known = sandbox.annotations[Marks.manifest].flatMap { try? Value(json: Data($0.utf8)) }
    let changes = known.map { ManifestDifference.lines(from: $0, to: document.canonical) }
    let started = inventory.containers(of: sandbox).filter { $0.state != .containerCreated }.map(\.metadata.name)
    let missing = document.pod.containers.map(\.name).filter { !started.contains($0) }
    if sandbox.state == .sandboxReady, changes == [], missing.isEmpty {
      terminal.note("  is already there and has not changed")
      return try await PodPlayer.Outcome(of: sandbox, document.pod, inventory, connection)
    }
    // A sandbox that is not ready never comes back: kubelet too makes a new one in its place.
    guard replace || (sandbox.state != .sandboxReady && known != nil) else {
      if changes == [] {
        throw ClientError(
          .failed, "cannot play \(document.pod.qualifiedName)",
          why: "it is there, but its container \(missing.joined(separator: ", ")) was never started",
          remedy: "--replace takes it down first, unless somebody is starting it right now")
      }
      throw ClientError(
        .failed, "cannot play \(document.pod.qualifiedName)",
        why: changes == nil
          ? "a pod of that name is there that play did not make" : "it is already there and has changed",
        details: changes ?? [], remedy: "--replace takes it down first")
    }
    let life = PodLife(connection: connection)
    try await life.stop(sandbox, containers: inventory.containers(of: sandbox))
    try await life.remove(sandbox)
    terminal.note(
      "  took down \(Humane.shortID(sandbox.id))" + (sandbox.state == .sandboxReady ? "" : ", which had ended"))
    return nil
  }
}

struct Down: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Stops and removes the pods of a manifest, with their logs and emptyDir volumes.")

  @OptionGroup var manifest: ManifestOptions

  @Option(
    name: [.customShort("t"), .customLong("timeout"), .customLong("grace")],
    help: ArgumentHelp("The grace period; without it the pod's own.", valueName: "seconds"))
  var grace: Int64?

  @OptionGroup var global: GlobalOptions

  func run() async throws {
    let (documents, _) = try manifest.read()
    try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let life = PodLife(connection: connection)
      for document in documents.reversed() {
        let present = inventory.sandboxes.filter { $0.qualifiedName == document.pod.qualifiedName }
        if present.isEmpty { Terminal.current.note("pod \(document.pod.qualifiedName) is not there") }
        for sandbox in present {
          try await life.stop(sandbox, containers: inventory.containers(of: sandbox), grace: grace)
          try await life.remove(sandbox)
          Terminal.current.data(sandbox.qualifiedName)
        }
      }
    }
  }
}

extension PodPlayer.Outcome {
  /// What is known of a pod that stands already.
  init(
    of sandbox: Runtime_V1_PodSandbox, _ pod: PodManifest, _ inventory: Inventory, _ connection: RuntimeConnection
  ) async throws {
    let ids = inventory.currentContainers(of: sandbox).map(\.id)
    let statuses = try await StatusQueries.containers(ids, connection)
    self.init(
      pod: pod, sandbox: try await StatusQueries.sandboxes([sandbox.id], connection)[sandbox.id]?.status ?? .init(),
      containers: ids.compactMap { statuses[$0] }, isNew: false)
  }

  static func table(_ outcomes: [PodPlayer.Outcome]) -> Table {
    var table = Table("NAMESPACE", "POD", "IP", "CONTAINER", "STATE", "ID")
    for outcome in outcomes {
      for container in outcome.containers {
        table.add(
          Table.Cell(outcome.pod.namespace), Table.Cell(outcome.pod.name), Table.Cell(outcome.sandbox.network.ip),
          Table.Cell(container.metadata.name), Shown.state(container.state, reason: container.reason),
          Table.Cell(Humane.shortID(container.id)))
      }
    }
    return table
  }

  var value: Value {
    let network = sandbox.network
    let addresses = network.ip.isEmpty ? [] : [network.ip] + network.additionalIps.map(\.ip)
    return .record([
      "name": .string(pod.name), "namespace": .string(pod.namespace), "uid": .string(sandbox.metadata.uid),
      "id": .string(sandbox.id), "ip": addresses.first.map(Value.string) ?? .null, "ips": .strings(addresses),
      "isNew": .bool(isNew),
      "containers": .list(
        containers.map { container in
          .record([
            "name": .string(container.metadata.name), "id": .string(container.id),
            "state": .string(Shown.state(container.state).text), "logPath": .string(container.logPath),
          ])
        }),
      "timings": .object(
        timings.map { step, duration in
          let nanoseconds =
            duration.components.seconds * 1_000_000_000 + duration.components.attoseconds / 1_000_000_000
          return Value.Member(step, .double(Double(nanoseconds / 1000) / 1000))
        }),
    ])
  }
}
