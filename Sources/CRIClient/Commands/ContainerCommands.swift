import ArgumentParser
import CRIProtocol
import Glibc

struct Logs: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Prints the output of a pod's containers.")

  @Argument(help: "A container, or a pod for all of its containers.")
  var target: String

  @Flag(name: .shortAndLong, help: "Go on until the containers have ended.")
  var follow = false

  @Option(help: "Begin with the last lines, this many of each container.")
  var tail: Int?

  @Flag(name: .shortAndLong, help: "Print each line's time.")
  var timestamps = false

  @OptionGroup var global: GlobalOptions

  func validate() throws {
    if let tail, tail < 0 { throw ValidationError("--tail must not be negative") }
  }

  func run() async throws {
    try await global.withRuntime { connection in
      let followers = try await followers(connection)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for follower in followers {
          group.addTask { try await follower.run(follow: follow) }
          if !follow { try await group.waitForAll() }
        }
        try await group.waitForAll()
      }
    }
  }

  private func followers(_ connection: RuntimeConnection) async throws -> [LogFollower] {
    let inventory = try await Inventory.load(connection)
    let containers: [Runtime_V1_Container]
    switch try inventory.find(target) {
    case .container(let container): containers = [container]
    case .pod(let sandbox):
      containers = inventory.currentContainers(of: sandbox)
      if containers.isEmpty { throw ClientError(.notFound, "pod \(sandbox.qualifiedName) has no container") }
    }
    let statuses = try await StatusQueries.containers(containers.map(\.id), connection)
    let width = containers.map(\.metadata.name.count).max() ?? 0
    return try containers.enumerated().map { position, container in
      let name = inventory.name(of: container)
      guard let path = statuses[container.id]?.logPath, !path.isEmpty else {
        throw ClientError(
          .notFound, "container \(name) has no log", why: "its pod was made without a log directory, or it is gone")
      }
      if !follow, access(path, F_OK) != 0, container.state != .containerCreated {
        throw ClientError(.notFound, "cannot read the log of \(name)", why: "\(path) is not there")
      }
      var printer = LogPrinter(showsTimestamps: timestamps)
      if containers.count > 1 {
        let padded = container.metadata.name.padded(to: width)
        let colour = Colour.prefixes[position % Colour.prefixes.count]
        printer.prefix = Terminal.current.paintData(padded, colour) + " | "
      }
      return LogFollower(
        connection: connection, containerID: container.id, path: path, printer: printer, tail: tail)
    }
  }
}

extension String {
  func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
