import ArgumentParser
import CRIProtocol
import SwiftProtobuf

struct Pods: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Lists the pods with their addresses.")

  @Flag(name: .shortAndLong, help: "Only ids, in full.")
  var quiet = false

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let (inventory, statuses) = try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let ids = quiet ? [] : inventory.sandboxes.map(\.id)
      return (inventory, try await StatusQueries.sandboxes(ids, connection))
    }
    guard !quiet else {
      for sandbox in inventory.sandboxes { Terminal.current.data(sandbox.id) }
      return
    }
    let now = Clock.nanoseconds()
    var table = Table("NAMESPACE", "POD", "STATE", "AGE", "IP", "CONTAINERS", "ID")
    for sandbox in inventory.sandboxes {
      let containers = inventory.currentContainers(of: sandbox)
      let running = containers.count { $0.state == .containerRunning }
      table.add(
        Table.Cell(sandbox.metadata.namespace), Table.Cell(sandbox.metadata.name), Shown.state(sandbox.state),
        Table.Cell(Humane.age(nanoseconds: now - sandbox.createdAt)),
        Table.Cell(statuses[sandbox.id]?.network.ip ?? ""), Table.Cell("\(running)/\(containers.count)"),
        Table.Cell(Humane.shortID(sandbox.id)))
    }
    let values = inventory.sandboxes.map { sandbox in
      Shown.value(sandbox, statuses[sandbox.id], inventory.currentContainers(of: sandbox))
    }
    try output.print(.list(values), table: table)
  }
}

struct Ps: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Lists the containers of all pods.")

  @Flag(name: .shortAndLong, help: "Containers that have exited or were never started, too.")
  var all = false

  @Flag(name: .shortAndLong, help: "Only ids, in full.")
  var quiet = false

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let (inventory, shown, statuses) = try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let shown = inventory.containers.filter { all || $0.state == .containerRunning }
      let exited = quiet ? [] : shown.filter { $0.state == .containerExited }.map(\.id)
      return (inventory, shown, try await StatusQueries.containers(exited, connection))
    }
    guard !quiet else {
      for container in shown { Terminal.current.data(container.id) }
      return
    }
    let now = Clock.nanoseconds()
    var table = Table("NAMESPACE", "POD", "CONTAINER", "STATE", "AGE", "EXIT", "IMAGE", "ID")
    var values: [Value] = []
    for container in shown {
      let sandbox = inventory.sandbox(of: container)
      let namespace = sandbox?.metadata.namespace ?? container.labels[Marks.podNamespace] ?? ""
      let pod = sandbox?.metadata.name ?? container.labels[Marks.podName] ?? ""
      let status = statuses[container.id]
      table.add(
        Table.Cell(namespace), Table.Cell(pod), Table.Cell(container.metadata.name),
        Shown.state(container.state, reason: status?.reason ?? ""),
        Table.Cell(Humane.age(nanoseconds: now - container.createdAt)),
        Table.Cell(status.map { "\($0.exitCode)" } ?? ""), Table.Cell(Shown.image(container.image)),
        Table.Cell(Humane.shortID(container.id)))
      values.append(Shown.value(container, namespace: namespace, pod: pod, status))
    }
    try output.print(.list(values), table: table)
  }
}

/// Statuses of many objects, a bounded number of questions at a time. What is gone meanwhile is left out.
enum StatusQueries {
  static let width = 16

  static func sandboxes(
    _ ids: [String], _ connection: RuntimeConnection
  ) async throws -> [String: Runtime_V1_PodSandboxStatus] {
    try await each(ids) { id in
      try await connection.call("ask for a pod's status", deadline: .seconds(30)) { connection, options in
        try await connection.runtime.podSandboxStatus(.with { $0.podSandboxID = id }, options: options).status
      }
    }
  }

  static func containers(
    _ ids: [String], _ connection: RuntimeConnection
  ) async throws -> [String: Runtime_V1_ContainerStatus] {
    try await each(ids) { id in
      try await connection.call("ask for a container's status", deadline: .seconds(30)) { connection, options in
        try await connection.runtime.containerStatus(.with { $0.containerID = id }, options: options).status
      }
    }
  }

  private static func each<Status: Sendable>(
    _ ids: [String], _ ask: @escaping @Sendable (String) async throws -> Status
  ) async throws -> [String: Status] {
    try await withThrowingTaskGroup(of: (String, Status?).self) { group in
      var waiting = ids[...]
      var result: [String: Status] = [:]
      let addNext = { (group: inout ThrowingTaskGroup<(String, Status?), any Error>) in
        guard let id = waiting.popFirst() else { return }
        group.addTask {
          do {
            return (id, try await ask(id))
          } catch where ClientError.isNotFound(error) {
            return (id, nil)
          }
        }
      }
      for _ in 0..<min(width, ids.count) { addNext(&group) }
      while let (id, status) = try await group.next() {
        result[id] = status
        addNext(&group)
      }
      return result
    }
  }
}
