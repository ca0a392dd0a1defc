import CRIProtocol
import FoundationEssentials
import LinuxSystem
import Logging
import RuntimeModel
import ShimProtocol
import Store
import SwiftProtobuf

/// One UpdateContainerResources: all of it or nothing. Runs in the container's lane, so never beside a start.
struct ContainerUpdate: Sendable {
  let daemon: Daemon
  let container: Container

  private static let prefix = "linux."

  /// - Throws: `invalidArgument` naming the field; `failedPrecondition` for a container that has ended, and for what the
  ///   kernel cannot hold now.
  func run(_ update: Runtime_V1_LinuxContainerResources) async throws {
    guard !container.isRemoved else { throw RuntimeError(.notFound, "\(container.subject) has been removed") }
    let change = try ResourceChange(update, of: container.resources, prefix: Self.prefix)
    try daemon.cgroups.check(change.limits, prefix: Self.prefix)
    let record = try recordAfter(change)
    switch record.state {
    case .created: try await daemon.threads.run { [store = daemon.store] in try store.update(record) }
    case .running: try await apply(change, record)
    case .exited:
      throw RuntimeError(.failedPrecondition, "\(container.subject) has ended: there is nothing to update")
    }
    _ = container.update { kept in
      kept.resources = record.resources
      kept.startRequest = record.startRequest
    }
  }

  private func recordAfter(_ change: ResourceChange) throws -> ContainerRecord {
    var record = container.record
    record.resources = try change.resources.serializedBytes()
    if let score = change.oomScore {
      // A later start, and every exec.
      var request = try Swiftlet_Shim_V1_StartRequest(serializedBytes: record.startRequest)
      request.process.oomScoreAdj = score
      record.startRequest = try request.serializedBytes()
    }
    return record
  }

  /// The kernel first, then the record: a daemon that dies in between shows old values, and the client asks again.
  private func apply(_ change: ResourceChange, _ record: ContainerRecord) async throws {
    guard let path = daemon.cgroupPath(of: container) else {
      throw RuntimeError(.internalError, "\(container.subject) has no sandbox")
    }
    let subject = container.subject
    let warnings = try await daemon.threads.run { [cgroups = daemon.cgroups, store = daemon.store] in
      let cgroup = cgroups.cgroup(at: path)
      guard cgroup.exists else { throw RuntimeError(.failedPrecondition, "\(subject) has just ended") }
      try Self.check(change.limits.memoryLimit, on: cgroup, subject)
      do {
        var warnings = try cgroup.change(change.limits) { try store.update(record) }
        if let score = change.oomScore, let warning = Self.set(score, on: cgroup) { warnings.append(warning) }
        return warnings
      } catch let error as LimitError {
        throw RuntimeError(error, prefix: Self.prefix)
      }
    }
    for warning in warnings {
      daemon.logger.notice("container update", metadata: ["container": "\(container.id)", "warning": "\(warning)"])
    }
  }

  /// Never fails the update: the limits are in force and recorded by now, and the next exec has the score.
  private static func set(_ score: Int32, on cgroup: Cgroup) -> String? {
    do {
      try Failpoint.updateScore.pass()
      let refused = try cgroup.setOOMScore(score)
      return refused.isEmpty
        ? nil : "oom_score_adj \(score) is not set for pids \(refused): it needs CAP_SYS_RESOURCE"
    } catch {
      return "oom_score_adj \(score) is not set for what runs: \(error)"
    }
  }

  /// v2 would kill for a limit below what is used; v1 refuses by itself, after a long search for pages to take.
  private static func check(_ limit: Int64, on cgroup: Cgroup, _ subject: String) throws(RuntimeError) {
    guard limit > 0, let memory = cgroup.usage(nodeSwap: 0).memory else { return }
    let kept = memory.usage - min(memory.usage, memory.files)
    guard kept <= UInt64(limit) else {
      throw RuntimeError(
        .failedPrecondition,
        "\(prefix)memory_limit_in_bytes: \(limit) is below the \(kept) bytes that \(subject) uses")
    }
  }
}

extension Container {
  /// The limits in force, or those of its start: as created, with every update since.
  var resources: Runtime_V1_LinuxContainerResources {
    guard let updated = record.resources,
      let resources = try? Runtime_V1_LinuxContainerResources(serializedBytes: updated)
    else { return config.linux.resources }
    return resources
  }
}

extension Daemon {
  /// Makes a container's group with its limits.
  ///
  /// - Throws: `invalidArgument` or `failedPrecondition` naming the field that the kernel refused.
  func makeCgroup(of container: Container, in sandbox: Sandbox) async throws -> Cgroup {
    var limits = Cgroup.Limits(container.resources)
    limits.pidsLimit = configuration.pidsLimit
    let path = "\(sandbox.record.cgroupParent)/\(container.id)"
    let (asked, id) = (limits, container.id)
    return try await threads.run { [cgroups, logger] in
      let cgroup = try cgroups.create(path: path)
      let warnings: [String]
      do throws(LimitError) {
        warnings = try cgroup.apply(asked)
      } catch {
        throw RuntimeError(error, prefix: "linux.resources.")
      }
      for warning in warnings {
        logger.notice("container limits", metadata: ["container": "\(id)", "warning": "\(warning)"])
      }
      return cgroup
    }
  }
}
