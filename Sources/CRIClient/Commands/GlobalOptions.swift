import ArgumentParser
import Glibc

enum OutputFormat: String, Sendable, CaseIterable, ExpressibleByArgument {
  case table
  case json
  case yaml
}

/// What every command takes.
struct GlobalOptions: ParsableArguments {
  @Option(
    name: [.customLong("socket"), .customLong("runtime-endpoint"), .customShort("r")],
    help: ArgumentHelp(
      "The runtime's Unix socket, with or without unix://. Any CRI v1 runtime will do.",
      discussion: """
        Without it: $SWIFTLET_SOCKET, else $CONTAINER_RUNTIME_ENDPOINT, else \(SocketChoice.defaultPath).
        """, valueName: "path"))
  var socket: String?

  /// Connects to the chosen runtime for the time of `body`.
  func withRuntime<Result: Sendable>(
    _ body: @Sendable (RuntimeConnection) async throws -> Result
  ) async throws -> Result {
    try await RuntimeConnection.with(try socketChoice(), body)
  }

  func socketChoice() throws(ClientError) -> SocketChoice {
    try SocketChoice.choose(option: socket) { name in getenv(name).map { String(cString: $0) } }
  }
}

/// What every command takes that prints data.
struct OutputOptions: ParsableArguments {
  @Option(name: .shortAndLong, help: "How to print data: table, json or yaml.")
  var output: OutputFormat?

  /// Prints data in the format that was asked for.
  func print(_ value: Value, table: Table?) throws {
    let terminal = Terminal.current
    switch output ?? (table == nil ? .yaml : .table) {
    case .json: terminal.data(value.json())
    case .yaml: terminal.data(try value.yaml())
    case .table:
      guard let table else {
        throw ClientError(.usage, "cannot print this as a table", remedy: "-o yaml or -o json")
      }
      for line in table.lines(paint: terminal.paintData) { terminal.data(line) }
    }
  }
}
