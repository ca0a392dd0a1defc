import FoundationEssentials
import GRPCCore
import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol
import SwiftProtobuf
import Synchronization

/// One further process in a running container, in a cgroup leaf of its own so that it can be killed with all it started.
struct ContainerExec: Sendable {
  let daemon: Daemon
  let container: Container
  let sandbox: Sandbox
  let shim: ShimClient

  private static let counter = Atomic<UInt64>(0)

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
    request.process = try process(command)
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

  private func failure(_ error: any Error, _ command: [String], _ timeout: Int64) -> RuntimeError {
    let action = "\(command[0]) in \(container.subject)"
    if let error = error as? ShimCallError, error.origin == .deadline {
      return RuntimeError(.deadlineExceeded, "\(action) ran longer than \(timeout) s, and its shim does not answer")
    }
    return RuntimeError(action, error)
  }

  private func process(_ command: [String]) throws -> Swiftlet_Shim_V1_Process {
    let record = container.record
    var process = try Swiftlet_Shim_V1_StartRequest(serializedBytes: record.startRequest).process
    process.argv = command.map { Data($0.utf8) }
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

  /// Off the caller's path: the container's own removal takes a leaf along that is still there.
  private func discard(_ leaf: Cgroup, killing: Bool) {
    Task { [daemon] in
      do {
        try await daemon.threads.run {
          if killing { try leaf.kill() }
          try leaf.remove(deadline: .seconds(2))
        }
      } catch {
        daemon.logger.debug("an exec's cgroup is still there", metadata: ["error": "\(error)"])
      }
    }
  }
}
