import ArgumentParser
import CRIProtocol

struct Stop: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Stops pods or containers: TERM, the grace period, then KILL.")

  @Argument(help: "Pods or containers.")
  var targets: [String]

  @Option(
    name: [.customShort("t"), .customLong("timeout"), .customLong("grace")],
    help: ArgumentHelp(
      "The grace period; without it the pod's own, else \(PodLife.defaultGrace).", valueName: "seconds"))
  var grace: Int64?

  @OptionGroup var global: GlobalOptions

  func validate() throws {
    if let grace, grace < 0 { throw ValidationError("--timeout must not be negative") }
  }

  func run() async throws {
    try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let life = PodLife(connection: connection)
      try await Concurrent.each(try targets.map { try inventory.find($0) }) { target in
        switch target {
        case .pod(let sandbox):
          try await life.stop(sandbox, containers: inventory.containers(of: sandbox), grace: grace)
          Terminal.current.data(sandbox.qualifiedName)
        case .container(let container):
          let pod = inventory.sandbox(of: container)?.qualifiedName ?? ""
          try await life.stop(container, of: pod, grace: grace)
          Terminal.current.data(inventory.name(of: container))
        }
      }
    }
  }
}

struct Remove: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rm", abstract: "Removes pods with all their containers, or single containers.")

  @Argument(help: "Pods or containers.")
  var targets: [String] = []

  @Flag(name: .shortAndLong, help: "Running ones too: they are killed, without a grace period.")
  var force = false

  @Flag(name: .shortAndLong, help: "Every pod.")
  var all = false

  @OptionGroup var global: GlobalOptions

  func validate() throws {
    if targets.isEmpty != all { throw ValidationError("name what to remove, or pass --all") }
  }

  func run() async throws {
    try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let found = all ? inventory.sandboxes.map(Target.pod) : try targets.map { try inventory.find($0) }
      try await Concurrent.each(found) { target in
        switch target {
        case .pod(let sandbox): try await remove(sandbox, inventory, PodLife(connection: connection))
        case .container(let container): try await remove(container, inventory, PodLife(connection: connection))
        }
      }
    }
  }

  private func remove(_ sandbox: Runtime_V1_PodSandbox, _ inventory: Inventory, _ life: PodLife) async throws {
    let containers = inventory.containers(of: sandbox)
    if !force, let running = containers.first(where: { $0.state == .containerRunning }) {
      throw ClientError(
        .failed, "cannot remove pod \(sandbox.qualifiedName)", why: "its container \(running.metadata.name) is running",
        remedy: "swiftlet stop \(sandbox.qualifiedName), or rm --force")
    }
    try await life.stop(sandbox, containers: containers, grace: 0)
    try await life.remove(sandbox)
    Terminal.current.data(sandbox.qualifiedName)
  }

  private func remove(_ container: Runtime_V1_Container, _ inventory: Inventory, _ life: PodLife) async throws {
    let pod = inventory.sandbox(of: container)?.qualifiedName ?? ""
    if container.state == .containerRunning {
      guard force else {
        throw ClientError(
          .failed, "cannot remove container \(inventory.name(of: container))", why: "it is running",
          remedy: "swiftlet stop \(inventory.name(of: container)), or rm --force")
      }
      try await life.stop(container, of: pod, grace: 0)
    }
    try await life.remove(container, of: pod)
    Terminal.current.data(inventory.name(of: container))
  }
}
