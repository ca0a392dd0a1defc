import ArgumentParser
import CRIProtocol
import Glibc
import SwiftProtobuf

/// What a session with a process takes.
struct SessionOptions: ParsableArguments {
  @Flag(name: [.customShort("i"), .customLong("stdin")], help: "Pass standard input on.")
  var input = false

  @Flag(
    name: [.customShort("t"), .customLong("tty")],
    help: "Use a terminal; needs -i. Ctrl-P Ctrl-Q leaves it, and the process runs on.")
  var terminal = false

  /// Whether the process can have this process's terminal. As with kubectl, a script is warned and does without.
  func usableTerminal() -> Bool {
    guard terminal else { return false }
    guard input, isatty(0) == 1 else {
      Terminal.current.warn(
        input ? "no terminal is used: standard input is none" : "no terminal is used: -t without -i has nothing to type"
      )
      return false
    }
    return true
  }
}

struct Exec: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a command in a container and exits with its status.",
    discussion: "`swiftlet exec -it web sh` for a shell, `swiftlet exec web -- ls -l /` for a single command.")

  @Argument(help: "A container, or a pod that has only one.")
  var target: String

  @Argument(parsing: .postTerminator, help: "The command and its arguments.")
  var command: [String] = []

  @OptionGroup var session: SessionOptions

  @Option(
    help: ArgumentHelp(
      "Seconds after which the command is killed with all it started; its output comes at its end then.",
      valueName: "seconds"))
  var timeout: Int64 = 0

  @OptionGroup var global: GlobalOptions

  func validate() throws {
    if command.isEmpty { throw ValidationError("what is to be run? swiftlet exec POD -- COMMAND") }
    if timeout < 0 { throw ValidationError("--timeout must not be negative") }
    if timeout > 0, session.input || session.terminal {
      throw ValidationError("--timeout is for commands without -i and -t")
    }
  }

  func run() async throws {
    let code = try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let container = try inventory.findContainer(target)
      let what = "run \(command.joined(separator: " ")) in \(inventory.name(of: container))"
      return timeout > 0
        ? try await waited(connection, container, what) : try await streamed(connection, container, what)
    }
    if code != 0 { throw ExitCode(code) }
  }

  private func streamed(
    _ connection: RuntimeConnection, _ container: Runtime_V1_Container, _ what: String
  ) async throws -> Int32 {
    let terminal = session.usableTerminal()
    let request = Runtime_V1_ExecRequest.with {
      $0.containerID = container.id
      $0.cmd = command
      $0.stdin = session.input
      $0.tty = terminal
      $0.stdout = true
      $0.stderr = !terminal
    }
    let answer = try await connection.call(what) { connection, options in
      try await connection.runtime.exec(request, options: options)
    }
    let remote = RemoteSession(what: what, usesInput: session.input, isTerminal: terminal)
    switch try await remote.run(at: try SessionURL(answer.url)) {
    case .exit(let code): return code
    case .detached:
      Terminal.current.note("\nleft; the command runs on")
      return 0
    }
  }

  private func waited(
    _ connection: RuntimeConnection, _ container: Runtime_V1_Container, _ what: String
  ) async throws -> Int32 {
    let request = Runtime_V1_ExecSyncRequest.with {
      $0.containerID = container.id
      $0.cmd = command
      $0.timeout = timeout
    }
    let response = try await connection.call(what, deadline: .seconds(timeout + 10)) { connection, options in
      try await connection.runtime.execSync(request, options: options)
    }
    Terminal.write(Array(response.stdout), to: 1)
    Terminal.write(Array(response.stderr), to: 2)
    return response.exitCode
  }
}

struct Attach: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows a running container's output from now on, and exits with its status.",
    discussion: "Give -i and -t as the container has them. What came before is in `swiftlet logs`.")

  @Argument(help: "A container, or a pod that has only one.")
  var target: String

  @OptionGroup var session: SessionOptions
  @OptionGroup var global: GlobalOptions

  func run() async throws {
    let code = try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let container = try inventory.findContainer(target)
      return try await ContainerSession(
        connection: connection, id: container.id, name: inventory.name(of: container)
      ).attach(input: session.input, terminal: session.terminal)
    }
    if let code, code != 0 { throw ExitCode(code) }
  }
}
