import FoundationEssentials
import GRPCCore
import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol
import Streaming
import SwiftProtobuf
import Synchronization

/// One further process in a running container, in a cgroup leaf of its own so that it can be killed with all it started.
struct ContainerExec: Sendable {
  let daemon: Daemon
  let container: Container
  let sandbox: Sandbox
  let shim: ShimClient

  /// Of the last leaf. Execs may outlive the daemon that has made them: no later one's leaf has their number.
  private static let counter = Atomic<UInt64>(UInt64(max(0, WallClock.now())))

  /// A year is for ever, and no clock overflows.
  private static let longestTimeout: Int64 = 366 * 86_400
  /// The shim answers half a second after the command's time at the latest; one that does not is not waited for.
  private static let shimPatience = Duration.seconds(2)

  /// - Parameter timeout: seconds; 0 for none.
  /// - Throws: `deadlineExceeded` when the command's time has passed; it and all it started are killed then.
  func run(command: [String], timeout: Int64) async throws -> Swiftlet_Shim_V1_ExecSyncResponse {
    let timeout = min(timeout, Self.longestTimeout)
    var request = Swiftlet_Shim_V1_ExecSyncRequest()
    request.containerID = container.id.value
    request.process = try process(command, tty: false)
    request.timeoutNano = timeout * 1_000_000_000
    let output = daemon.execOutput.take()
    defer { daemon.execOutput.giveBack(output) }
    request.outputLimit = UInt64(output)
    let leaf = try await makeLeaf()
    request.cgroup = leaf.message
    let call = request
    let answer = Task { [shim] in
      try await shim.execSync(call, deadline: timeout == 0 ? nil : .now + .seconds(timeout) + Self.shimPatience)
    }
    do {
      let response = try await withRPCCancellationHandler {
        try await answer.value
      } onCancelRPC: {
        answer.cancel()
      }
      discard(leaf, killing: false)
      return response
    } catch {
      // Nobody waits for the command any more, or the shim does not tell of it.
      discard(leaf, killing: true)
      throw failure(error, command, timeout)
    }
  }

  /// How long a terminal may take that the command makes before it begins.
  private static let terminalPatience = Duration.seconds(30)

  /// Begins a command whose streams are the caller's; it ends by itself or with the container. Nobody needs to wait for
  /// it.
  /// - Parameter selection: the other streams are /dev/null, or the terminal's.
  /// - Throws: `RuntimeError`. With a terminal a command that cannot be run may fail here; else ``ExecSession/exitCode()``
  ///   tells.
  func begin(
    command: [String], _ selection: StreamSelection
  ) async throws -> ExecSession {
    let action = "\(command[0]) in \(container.subject)"
    var request = Swiftlet_Shim_V1_ExecRequest()
    request.containerID = container.id.value
    request.process = try process(command, tty: selection.tty)
    if !selection.tty {
      request.stdin = selection.stdin
      request.stdout = selection.stdout
      request.stderr = selection.stderr
    }
    let leaf = try await makeLeaf()
    request.cgroup = leaf.message
    do {
      guard selection.tty else {
        let (ours, theirs) = try StreamEnds.pipes(
          stdin: selection.stdin, stdout: selection.stdout, stderr: selection.stderr)
        return ExecSession(ends: ours, terminal: nil, answer: answer(request, leaf, passing: theirs.takeAll(), action))
      }
      let (receiving, sending) = try TerminalMaster.sockets()
      let answer = answer(request, leaf, passing: [sending], action)
      guard try await daemon.exits.input(at: receiving, within: Self.terminalPatience) else {
        throw RuntimeError(.deadlineExceeded, "\(action): its terminal does not come")
      }
      guard let master = try TerminalMaster(from: receiving) else {
        _ = try await answer.value
        throw RuntimeError(.internalError, "\(action): it ended without its terminal")
      }
      let ends = try StreamEnds(master, stdin: selection.stdin)
      return ExecSession(ends: ends, terminal: master, answer: answer)
    } catch {
      discard(leaf, killing: true)
      throw RuntimeError(action, error)
    }
  }

  /// Waits for the command for as long as it takes, whoever else does, and then removes its cgroup.
  private func answer(
    _ request: Swiftlet_Shim_V1_ExecRequest, _ leaf: Cgroup, passing descriptors: [Int32], _ action: String
  ) -> Task<Int32, any Error> {
    Task {
      do {
        let code = try await shim.exec(request, passing: descriptors).exitCode
        discard(leaf, killing: false)
        return code
      } catch {
        // It never began, or the shim is gone. A daemon that stops lets go of its shims, and of no command.
        if (error as? ShimCallError)?.origin != .connection(.closedHere) { discard(leaf, killing: true) }
        throw RuntimeError(action, error)
      }
    }
  }

  private func failure(_ error: any Error, _ command: [String], _ timeout: Int64) -> RuntimeError {
    let action = "\(command[0]) in \(container.subject)"
    if let error = error as? ShimCallError, error.origin == .deadline {
      return RuntimeError(.deadlineExceeded, "\(action) ran longer than \(timeout) s, and its shim does not answer")
    }
    return RuntimeError(action, error)
  }

  private func process(_ command: [String], tty: Bool) throws -> Swiftlet_Shim_V1_Process {
    let record = container.record
    var process = try Swiftlet_Shim_V1_StartRequest(serializedBytes: record.startRequest).process
    process.argv = command.map { Data($0.utf8) }
    process.tty = tty
    if tty, !process.env.contains(where: { $0.starts(with: "TERM=".utf8) }) {
      process.env.append(Data("TERM=\(Environment.standardTerminal)".utf8))
    }
    if record.usesDefaultSeccomp {
      process.seccomp = try daemon.defaultSeccomp(
        capabilities: CapabilitySet(mask: process.capabilities.bounding))
    }
    return process
  }

  private func makeLeaf() async throws -> Cgroup {
    let path = "\(sandbox.record.cgroupParent)/\(container.id)"
    let number = Self.counter.add(1, ordering: .relaxed).newValue
    return try await daemon.threads.run { [cgroups = daemon.cgroups] in
      let cgroup = cgroups.cgroup(at: path)
      guard cgroup.exists else {
        throw RuntimeError(.failedPrecondition, "cgroup \(path) is gone: the container has ended")
      }
      return try cgroup.leaf("exec-\(number)")
    }
  }

  /// Kills until the leaf is gone. A shim that is late begins the command after the first look, and does not learn that
  /// nobody waits for it; once the leaf is gone it cannot.
  private static func clear(_ leaf: Cgroup) throws(SystemCallError) {
    let end = ContinuousClock.now + .seconds(10)
    while true {
      try leaf.kill()
      do {
        return try leaf.remove(deadline: .milliseconds(200))
      } catch {
        guard ContinuousClock.now < end else { throw error }
      }
    }
  }

  /// Off the caller's path: the container's own removal takes a leaf along that is still there.
  private func discard(_ leaf: Cgroup, killing: Bool) {
    Task { [daemon] in
      do {
        try await daemon.leaves.run {
          guard killing else { return try leaf.remove(deadline: .seconds(2)) }
          try Self.clear(leaf)
        }
      } catch {
        daemon.logger.debug("an exec's cgroup is still there", metadata: ["error": "\(error)"])
      }
    }
  }
}
