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
    var table = Table("NAMESPACE", "POD", "STATE", "AGE", "IP", "CONTAINERS", "PAUSE", "ID")
    for sandbox in inventory.sandboxes {
      let containers = inventory.currentContainers(of: sandbox)
      let running = containers.count { $0.state == .containerRunning }
      table.add(
        Table.Cell(sandbox.metadata.namespace), Table.Cell(sandbox.metadata.name), Shown.state(sandbox.state),
        Table.Cell(Humane.age(nanoseconds: now - sandbox.createdAt)),
        Table.Cell(statuses[sandbox.id]?.status.network.ip ?? ""), Table.Cell("\(running)/\(containers.count)"),
        Table.Cell(statuses[sandbox.id]?.pausePid.map { "\($0)" } ?? ""), Table.Cell(Humane.shortID(sandbox.id)))
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

  @Flag(help: "The hidden process that holds each pod's namespaces, too, with its process id.")
  var pause = false

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let (inventory, shown, statuses, tags) = try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let shown = inventory.containers.filter { all || $0.state == .containerRunning }
      let exited = quiet ? [] : shown.filter { $0.state == .containerExited }.map(\.id)
      let statuses = try await StatusQueries.containers(exited, connection)
      return (inventory, shown, statuses, quiet ? [:] : try await ImageFetch(connection: connection).tags())
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
      let image = Shown.image(container.image, tags: tags)
      table.add(
        Table.Cell(namespace), Table.Cell(pod), Table.Cell(container.metadata.name),
        Shown.state(container.state, reason: status?.reason ?? ""),
        Table.Cell(Humane.age(nanoseconds: now - container.createdAt)),
        Table.Cell(status.map { "\($0.exitCode)" } ?? ""), Table.Cell(image),
        Table.Cell(Humane.shortID(container.id)))
      values.append(Shown.value(container, namespace: namespace, pod: pod, image: image, status))
    }
    if pause { try await addPauses(of: inventory.sandboxes, now: now, &table, &values) }
    try output.print(.list(values), table: table)
  }

  private func addPauses(
    of sandboxes: [Runtime_V1_PodSandbox], now: Int64, _ table: inout Table, _ values: inout [Value]
  ) async throws {
    let answers = try await global.withRuntime { connection in
      try await StatusQueries.sandboxes(sandboxes.map(\.id), connection)
    }
    for sandbox in sandboxes {
      guard let pid = answers[sandbox.id]?.pausePid else { continue }
      table.add(
        Table.Cell(sandbox.metadata.namespace), Table.Cell(sandbox.metadata.name), Table.Cell(Shown.pauseName),
        Shown.state(.containerRunning), Table.Cell(Humane.age(nanoseconds: now - sandbox.createdAt)), Table.Cell(""),
        Table.Cell(""), Table.Cell("pid \(pid)"))
      values.append(Shown.value(sandbox, pausePid: pid))
    }
  }
}
