import CRIProtocol
import FoundationEssentials
import LinuxSystem
import Logging
import RuntimeModel
import Seccomp
import ShimProtocol
import SwiftProtobuf

/// One StartContainer: the cgroup with its limits, then one call to the shim. Runs in the container's lane.
struct ContainerStart: Sendable {
  let daemon: Daemon
  let container: Container
  let stages: Stages

  func run() async throws {
    let (sandbox, shim) = try check()
    stages.begin("write intent")
    try await daemon.save(container) { $0.isStarting = true }
    do {
      let answer = try await start(sandbox, shim)
      stages.begin("write record")
      let identity = Pidfd.processIdentity(pid: answer.pid)
      try await daemon.save(container) { record in
        record.isStarting = false
        record.startedAt = answer.startedAt
        record.process = identity ?? ProcessIdentity(pid: answer.pid, startTime: 0)
      }
      log(answer.warnings)
    } catch {
      let failure = RuntimeError(starting: container, error)
      try await ContainerExit(daemon: daemon, container: container).recordStartFailure(failure.message)
      await daemon.removeCgroup(of: container)
      throw failure
    }
  }

  /// - Throws: `failedPrecondition` when the container is not CREATED or its sandbox not READY.
  private func check() throws(RuntimeError) -> (Sandbox, ShimClient) {
    guard !container.isRemoved else { throw RuntimeError(.notFound, "\(container.subject) has been removed") }
    switch container.record.state {
    case .created: break
    case .running: throw RuntimeError(.failedPrecondition, "\(container.subject) is already running")
    case .exited: throw RuntimeError(.failedPrecondition, "\(container.subject) has already exited")
    }
    guard let sandbox = daemon.sandboxes[container.sandboxID], sandbox.isReady, let shim = sandbox.shim else {
      throw RuntimeError(.failedPrecondition, "\(container.subject): its sandbox is not ready")
    }
    return (sandbox, shim)
  }

  private func start(_ sandbox: Sandbox, _ shim: ShimClient) async throws -> Swiftlet_Shim_V1_StartResponse {
    let record = container.record
    var request = try Swiftlet_Shim_V1_StartRequest(serializedBytes: record.startRequest)
    if record.usesDefaultSeccomp {
      request.process.seccomp = try daemon.defaultSeccomp(
        capabilities: CapabilitySet(mask: request.process.capabilities.bounding))
    }
    if request.namespaces.pid == .target {
      request.namespaces.targetID =
        try daemon.target(request.namespaces.targetID, in: container.sandboxID).value
    }
    stages.begin("make cgroup")
    request.cgroup = try await cgroup(sandbox, record)
    stages.begin("start process")
    return try await shim.start(request)
  }

  private func cgroup(
    _ sandbox: Sandbox, _ record: ContainerRecord
  ) async throws -> Swiftlet_Shim_V1_Cgroup {
    let limits = Cgroup.Limits(container.config.linux.resources)
    let path = "\(sandbox.record.cgroupParent)/\(container.id)"
    return try await daemon.threads.run { [cgroups = daemon.cgroups, logger = daemon.logger] in
      let cgroup = try cgroups.create(path: path)
      let warnings = try cgroup.apply(limits)
      try cgroup.applyDeviceRules(
        DeviceRule.defaults + record.allowedDevices.map(DeviceRule.init), privileged: record.isPrivileged)
      for warning in warnings {
        logger.notice("container limits", metadata: ["container": "\(record.id)", "warning": "\(warning)"])
      }
      return cgroup.message
    }
  }

  private func log(_ warnings: [String]) {
    for warning in warnings {
      daemon.logger.notice("container start", metadata: ["container": "\(container.id)", "warning": "\(warning)"])
    }
    daemon.logger.info(
      "container is running",
      metadata: [
        "container": "\(container.id)", "name": "\(container.config.metadata.name)", "stages": "\(stages.summary)",
      ])
  }
}

extension Daemon {
  /// The container whose PID namespace another one wants; looked at when that is created and again when it starts.
  /// - Throws: `failedPrecondition` unless it is a running container of the same sandbox.
  func target(_ text: String, in sandbox: Identifier) throws(RuntimeError) -> Identifier {
    let field = "linux.security_context.namespace_options.target_id"
    let target = try containers.get(text, field: field)
    guard target.sandboxID == sandbox, target.record.state == .running else {
      throw RuntimeError(.failedPrecondition, "\(field): \(target.subject) does not run in the same sandbox")
    }
    return target.id
  }
}

extension DeviceRule {
  fileprivate init(_ device: AllowedDevice) {
    self.init(
      kind: device.kind == .block ? .block : .character, major: device.major, minor: device.minor,
      access: Access(device.access) ?? [])
  }
}

extension Cgroup {
  /// As the shim joins it.
  var message: Swiftlet_Shim_V1_Cgroup {
    var message = Swiftlet_Shim_V1_Cgroup()
    message.directories = joinDirectories
    message.unified = unifiedDirectory ?? ""
    message.memoryEvents = memoryEventsPath
    return message
  }
}

extension Daemon {
  /// The RuntimeDefault profile as the shim loads it, compiled once per set of capabilities.
  func defaultSeccomp(capabilities: CapabilitySet) throws -> Data {
    Data(try seccomp.compile(.runtimeDefault(capabilities: capabilities.mask)).bytes)
  }
}

extension RuntimeError {
  /// A failed start in words that name the container and the step.
  fileprivate init(starting container: Container, _ error: any Error) {
    if let error = error as? RuntimeError {
      self = error
    } else if let error = error as? ShimCallError {
      self.init(error.code, "start of \(container.subject): \(error.message)")
    } else {
      self.init(.internalError, "start of \(container.subject): \(error)")
    }
  }
}
