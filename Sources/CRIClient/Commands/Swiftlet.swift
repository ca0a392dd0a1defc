import ArgumentParser
import Dispatch
import Glibc
import Synchronization

/// The command line client.
struct Swiftlet: AsyncParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "swiftlet",
    abstract: "Runs pods on any CRI v1 runtime, and shows what it holds.",
    discussion: """
      Pods and containers go by name, namespace/pod/container or as much of it as is unique, or by the beginning of
      their id. Data goes to standard output, everything else to standard error.

      Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 timed out, 5 runtime not reached; exec, attach
      and run -i pass the command's own status on.
      """,
    version: "swiftlet \(version)",
    groupedSubcommands: [
      CommandGroup(name: "Pods", subcommands: [Play.self, Down.self, Run.self, Pods.self]),
      CommandGroup(
        name: "Containers",
        subcommands: [
          Ps.self, Stats.self, Logs.self, Exec.self, Attach.self, PortForward.self, Stop.self, Remove.self,
          Inspect.self,
        ]),
      CommandGroup(name: "Images", subcommands: [Pull.self, Load.self, Images.self, RemoveImage.self]),
      CommandGroup(name: "Runtime", subcommands: [Net.self, VersionCommand.self, RuntimeStatus.self, Doctor.self]),
    ])

  @OptionGroup var global: GlobalOptions
}

/// The door's way in.
package enum ClientMain {
  /// Runs the command line, then ends the process with its exit status.
  package static func run() async -> Never {
    let arguments = ArgumentOrder.normalise(Array(CommandLine.arguments.dropFirst()))
    let command: any ParsableCommand
    do {
      command = try Swiftlet.parseAsRoot(arguments)
    } catch {
      exit(report(usage: error))
    }
    let work = Task { try await execute(command) }
    let interrupts = [SIGINT, SIGTERM].map { cancel(work, on: $0) }
    let result = await work.result
    for interrupt in interrupts { interrupt.cancel() }
    switch result {
    case .success: exit(0)
    case .failure(let error):
      let status = report(error)
      exit(status == ExitStatus.interrupted.rawValue ? 128 + interruption.load(ordering: .relaxed) : status)
    }
  }

  /// The signal that ended the work.
  private static let interruption = Atomic<Int32>(SIGINT)

  private static func execute(_ command: any ParsableCommand) async throws {
    guard var asynchronous = command as? any AsyncParsableCommand else {
      var synchronous = command
      try synchronous.run()
      return
    }
    try await asynchronous.run()
  }

  /// The first signal cancels the work, which then clears up behind itself; the second leaves at once.
  private static func cancel(_ work: Task<Void, any Error>, on number: Int32) -> any DispatchSourceSignal {
    signal(number, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
    source.setEventHandler {
      if work.isCancelled { RawTerminal.leave(128 + number) }
      interruption.store(number, ordering: .relaxed)
      work.cancel()
    }
    source.resume()
    return source
  }

  /// Help and version go to standard output; wrong usage to standard error, with status 2.
  private static func report(usage error: any Error) -> Int32 {
    let text = Swiftlet.fullMessage(for: error)
    guard Swiftlet.exitCode(for: error) != .success else {
      Terminal.current.data(text)
      return 0
    }
    Terminal.current.note(text)
    return ExitStatus.usage.rawValue
  }

  private static func report(_ error: any Error) -> Int32 {
    let terminal = Terminal.current
    switch error {
    case let exit as ExitCode: return exit.rawValue
    case let failure as ClientError:
      let text = failure.description
      terminal.note(text.replacingPrefix("error:", with: terminal.paintNote("error:", .red)))
      return failure.status.rawValue
    case is CancellationError:
      terminal.note("interrupted")
      return ExitStatus.interrupted.rawValue
    case is CleanExit, is ValidationError:
      return report(usage: error)
    case _ where Swiftlet.exitCode(for: error) == .success: return report(usage: error)
    default:
      terminal.note("\(terminal.paintNote("error:", .red)) \(error)")
      return ExitStatus.failed.rawValue
    }
  }
}

extension String {
  fileprivate func replacingPrefix(_ prefix: String, with replacement: String) -> String {
    hasPrefix(prefix) ? replacement + dropFirst(prefix.count) : self
  }
}
