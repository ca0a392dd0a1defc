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
    try await daemon.pass(.startIntent)
    try await daemon.commit(container) { $0.isStarting = true }
    do {
      let answer = try await start(sandbox, shim)
      stages.begin("write record")
      try await daemon.pass(.startRecord)
      let identity = Pidfd.processIdentity(pid: answer.pid)
      try await daemon.commit(container) { record in
        record.isStarting = false
        record.startedAt = answer.startedAt
        record.process = identity ?? ProcessIdentity(pid: answer.pid, startTime: 0)
      }
      log(answer.warnings)
    } catch {
      let failure = RuntimeError("start of \(container.subject)", error)
      await daemon.discardProcesses(of: container)
      do {
        try await ContainerExit(daemon: daemon, container: container).recordStartFailure(failure.message)
      } catch {
        // It stays CREATED, which it is: nothing of it runs.
        daemon.logger.error(
          "a failed start could not be recorded", metadata: ["container": "\(container.id)", "error": "\(error)"])
      }
      throw failure
    }
    try await daemon.pass(.startAnswer)
  }

  /// - Throws: `failedPrecondition` when the container is not CREATED or its sandbox not READY.
  private func check() throws(RuntimeError) -> (Sandbox, ShimClient) {
    guard !container.isRemoved else { throw RuntimeError(.notFound, "\(container.subject) has been removed") }
    guard !container.isBeingRemoved else {
      throw RuntimeError(.failedPrecondition, "\(container.subject) is being removed")
    }
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
    request.logLineLimit = daemon.configuration.logLineLimit
    if record.usesDefaultSeccomp {
      request.process.seccomp = try daemon.defaultSeccomp(
        capabilities: CapabilitySet(mask: request.process.capabilities.bounding))
    }
    if request.namespaces.pid == .target {
      request.namespaces.targetID =
        try daemon.target(request.namespaces.targetID, in: container.sandboxID).value
    }
    stages.begin("make cgroup")
    try await daemon.pass(.startCgroup)
    request.cgroup = try await cgroup(sandbox, record)
    stages.begin("start process")
    try await daemon.pass(.startProcess)
    return try await ShimLoss(daemon: daemon, sandbox: sandbox, shim: shim).watched { [request] in
      try await shim.start(request)
    }
  }

  private func cgroup(
    _ sandbox: Sandbox, _ record: ContainerRecord
  ) async throws -> Swiftlet_Shim_V1_Cgroup {
    let cgroup = try await daemon.makeCgroup(of: container, in: sandbox)
    return try await daemon.threads.run {
      try cgroup.applyDeviceRules(
        DeviceRule.defaults + record.allowedDevices.map(DeviceRule.init), privileged: record.isPrivileged)
      var message = cgroup.message
      message.shared = record.isPrivileged
      return message
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
