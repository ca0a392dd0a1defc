import ArgumentParser
import CRIProtocol
import Glibc
import SwiftProtobuf

struct Doctor: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks the socket, the runtime and this node, and says what to do about what is wrong.")

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    let (runtime, root) = await runtimeFindings(try global.socketChoice())
    let findings = runtime + NodeChecks.all(.here, stateDirectory: root ?? NodeChecks.stateDirectory)
    let terminal = Terminal.current
    if output.output == .json || output.output == .yaml {
      try output.print(.list(findings.map(\.value)), table: nil)
    } else {
      for line in Self.lines(findings, paint: terminal.paintData) { terminal.data(line) }
    }
    if findings.contains(where: { $0.verdict == .fail }) { throw ExitCode(ExitStatus.failed.rawValue) }
  }

  static func lines(_ findings: [Finding], paint: (String, Colour) -> String) -> [String] {
    let width = findings.map(\.check.count).max() ?? 0
    return findings.flatMap { finding -> [String] in
      let colour: Colour = finding.verdict == .ok ? .green : finding.verdict == .warn ? .yellow : .red
      let verdict = paint(finding.verdict.rawValue.padded(to: 4), colour)
      let line = "\(verdict)  \(finding.check.padded(to: width))  \(finding.reason)"
      let indent = String(repeating: " ", count: width + 8)
      return [line] + (finding.remedy.map { ["\(indent)try: \($0)"] } ?? [])
    }
  }

  /// - Returns: also the directory that the runtime keeps its data in, where it tells.
  private func runtimeFindings(_ socket: SocketChoice) async -> ([Finding], root: String?) {
    do {
      try socket.probe()
    } catch {
      let reason = [error.what, error.why].compactMap(\.self).joined(separator: ": ")
      return ([Finding("socket", .fail, reason, remedy: error.remedy)], nil)
    }
    let reachable = [Self.mode(socket)]
    do {
      return try await RuntimeConnection.with(socket) { connection in
        let version = try await Self.version(connection)
        let status = try await Self.status(connection)
        return (reachable + [version] + Self.conditions(status), Self.root(status))
      }
    } catch {
      return (reachable + [Finding("runtime", .fail, "\(error)", remedy: "see the daemon's log")], nil)
    }
  }

  private static func mode(_ socket: SocketChoice) -> Finding {
    var status = stat()
    let name = "\(socket.path) (\(socket.source))"
    guard stat(socket.path, &status) == 0 else { return Finding("socket", .ok, name) }
    let mode = status.st_mode & 0o777
    let shown = "0" + String(mode, radix: 8)
    guard mode & 0o007 == 0 else {
      return Finding(
        "socket", .warn, "\(name) has mode \(shown): whoever may write to it is root on this node",
        remedy: "chmod 0600 \(socket.path)")
    }
    return Finding("socket", .ok, "\(name), mode \(shown)")
  }

  private static func version(_ connection: RuntimeConnection) async throws -> Finding {
    let start = ContinuousClock.now
    let response = try await connection.call("ask for the version", deadline: .seconds(10)) { connection, options in
      try await connection.runtime.version(.with { $0.version = "v1" }, options: options)
    }
    let time = Humane.duration(ContinuousClock.now - start)
    let name = "\(response.runtimeName) \(response.runtimeVersion)"
    let answered = "\(name), CRI \(response.runtimeApiVersion), answered in \(time)"
    guard response.runtimeName == "swiftlet", response.runtimeVersion != Swiftlet.version else {
      return Finding("version", .ok, answered)
    }
    return Finding(
      "version", .warn, "\(answered); this client is \(Swiftlet.version)",
      remedy: "restart swiftletd after an upgrade: pods stay")
  }

  private static func status(_ connection: RuntimeConnection) async throws -> Runtime_V1_StatusResponse {
    try await connection.call("ask for the status", deadline: .seconds(30)) { connection, options in
      try await connection.runtime.status(.with { $0.verbose = true }, options: options)
    }
  }

  /// `rootDir` of the configuration that our runtime shows, and containerd's, too.
  private static func root(_ response: Runtime_V1_StatusResponse) -> String? {
    guard case .string(let root)? = Value(verboseInfo: response.info)["config"]?["rootDir"] else { return nil }
    return root
  }

  private static func conditions(_ response: Runtime_V1_StatusResponse) -> [Finding] {
    response.status.conditions.map { condition in
      let reason = [condition.reason, condition.message].filter { !$0.isEmpty }.joined(separator: ": ")
      let remedy =
        condition.type == "NetworkReady" ? "swiftlet info -o yaml; is the bridge there?" : "see the daemon's log"
      return condition.status
        ? Finding(condition.type, .ok, reason.isEmpty ? "true" : reason)
        : Finding(condition.type, .fail, reason.isEmpty ? "false" : reason, remedy: remedy)
    }
  }
}
