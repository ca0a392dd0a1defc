import CRIProtocol
import FoundationEssentials
import LinuxSystem
import Logging
import PodNetwork
import RuntimeModel
import Seccomp
import ShimProtocol
import Store
import SwiftProtobuf

/// One RunPodSandbox from the record to READY (ARCHITECTURE.md 3.1).
struct SandboxStart: Sendable {
  let daemon: Daemon
  let plan: SandboxPlan
  let stages: Stages

  /// - Returns: the identifier of the sandbox, which is READY then.
  /// - Throws: after everything was undone; what could not be undone stays listed as NotReady for StopPodSandbox.
  func run() async throws -> Identifier {
    let seccomp = try await daemon.seccompProgram(plan.seccomp, capabilities: .none)
    stages.begin("write record")
    let sandbox = try await record()
    do {
      try await bringUp(sandbox, seccomp)
    } catch {
      stages.begin("undo")
      await undo(sandbox)
      throw error
    }
    sandbox.show()
    Failpoint.runAnswer.reach()
    daemon.logger.info(
      "sandbox is ready",
      metadata: ["sandbox": "\(sandbox.id)", "pod": "\(plan.subject)", "stages": "\(stages.summary)"])
    return sandbox.id
  }

  /// The record with its lease in one transaction. Another daemon's or an old row's address is skipped.
  private func record() async throws -> Sandbox {
    try await daemon.unwritten.requireNone()
    let id = Identifier.random()
    var record = SandboxRecord(
      id: id, metadata: plan.metadata, state: .creating, createdAt: WallClock.now(), bootID: daemon.bootID,
      runtimeHandler: plan.runtimeHandler, config: try plan.config.serializedBytes(),
      cgroupParent: plan.cgroupParent, lease: nil)
    let network = plan.namespaces.hasHostNetwork ? nil : daemon.nodeNetwork
    try network?.beginReserving()
    defer { network?.endReserving() }
    for _ in 0..<8 {
      if !plan.namespaces.hasHostNetwork { record.lease = try reserveLease() }
      do {
        let row = record
        try Failpoint.runLeased.pass()
        try await daemon.threads.run { [daemon] in try daemon.store.insert(row) }
      } catch {
        if let lease = record.lease { daemon.network.giveBack(lease) }
        if case StoreError.addressTaken = error { continue }
        throw error
      }
      let sandbox = Sandbox(record: record, config: plan.config, namespaces: plan.namespaces, isListed: false)
      daemon.sandboxes.insert(sandbox, id: id, name: plan.metadata.key)
      return sandbox
    }
    throw RuntimeError(.resourceExhausted, "\(plan.subject): every address that was chosen is already taken")
  }

  private func reserveLease() throws -> AddressLease? {
    try daemon.network.reserveLease(ownNamespace: plan.namespaces.users != nil)
  }

  private func bringUp(_ sandbox: Sandbox, _ seccomp: SeccompProgram?) async throws {
    try Failpoint.runRecorded.pass()
    stages.begin("attach network, start shim")
    async let joined = makeNamespaces(sandbox)
    let shim = try await startShim(sandbox)
    let (network, users) = try await joined
    try await note(network, sandbox)
    stages.begin("start pause")
    try Failpoint.runPause.pass()
    // The network's leads to the user namespace that owns it.
    let passed = network?.namespace ?? users
    defer { withExtendedLifetime(passed) {} }
    let request = request(sandbox, seccomp)
    let answer: Swiftlet_Shim_V1_StartSandboxResponse
    do throws(ShimCallError) {
      answer = try await shim.startSandbox(request, networkNamespace: passed?.raw)
    } catch {
      throw RuntimeError("start of \(sandbox.subject)", error)
    }
    for warning in answer.warnings {
      daemon.logger.notice("sandbox start", metadata: ["sandbox": "\(sandbox.id)", "warning": "\(warning)"])
    }
    stages.begin("write record")
    try Failpoint.runReady.pass()
    try await daemon.save(sandbox) { record in
      record.state = .ready
      record.pause = ProcessIdentity(pid: answer.pausePid, startTime: answer.pauseStartTime)
    }
    ExitFollower(daemon: daemon, sandbox: sandbox, shim: shim).start()
  }

  /// The pod's network and user namespace, each where it has one of its own: what owns the network comes first.
  private func makeNamespaces(_ sandbox: Sandbox) async throws -> (SandboxNetwork?, SharedFD?) {
    let hasNetwork = !plan.namespaces.hasHostNetwork
    var made: UserNamespace.Made?
    if let mapping = plan.namespaces.users {
      made = try await daemon.threads.run {
        try Failpoint.runUsers.pass()
        return try UserNamespace.make(mapping, withNetwork: hasNetwork)
      }
    }
    guard hasNetwork else { return (nil, made?.users) }
    let network = try await daemon.network.attach(sandbox, plan, namespace: made?.network)
    sandbox.attached(network.steps)
    return (network, made?.users)
  }

  /// Addresses that only the attach has brought: into the record, which the next step writes, and /etc/hosts.
  private func note(_ network: SandboxNetwork?, _ sandbox: Sandbox) async throws {
    guard let network, sandbox.record.lease == nil else { return }
    _ = sandbox.update { $0.pluginAddresses = network.addresses }
    let files = SandboxFiles(directory: daemon.configuration.runDirectory(of: sandbox.id.value))
    let name = plan.hostname
    try await daemon.threads.run { try files.writeHosts(hostname: name, addresses: network.addresses) }
  }

  private func startShim(_ sandbox: Sandbox) async throws -> ShimClient {
    let files = SandboxFiles(directory: daemon.configuration.runDirectory(of: sandbox.id.value))
    let plan = plan
    let daemon = daemon
    let process = try await daemon.threads.run {
      try Failpoint.runShim.pass()
      try files.write(
        hostname: plan.hostname, dns: plan.config.hasDnsConfig ? plan.config.dnsConfig : nil,
        addresses: sandbox.record.lease?.addresses ?? [], owner: plan.namespaces.users)
      let cgroup = try daemon.cgroups.create(path: "\(plan.cgroupParent)/\(sandbox.id)")
      try Failpoint.runSpawn.pass()
      return try ShimProcess.spawn(
        binary: daemon.configuration.shimPath, sandbox: sandbox.id, directory: files.directory, cgroup: cgroup)
    }
    _ = sandbox.update { $0.shim = process.identity }
    let shim = try ShimClient.adopt(connected: process.connection)
    sandbox.connect(shim)
    return shim
  }

  private func request(_ sandbox: Sandbox, _ seccomp: SeccompProgram?) -> Swiftlet_Shim_V1_StartSandboxRequest {
    var request = Swiftlet_Shim_V1_StartSandboxRequest()
    request.sandboxID = sandbox.id.value
    request.namespaces = plan.namespaces.message
    // In the node's UTS namespace there is nothing to set.
    if !plan.namespaces.hasHostNetwork { request.hostname = plan.hostname }
    request.sysctls = SandboxSysctls.effective(plan.config.linux.sysctls, namespaces: plan.namespaces)
    // The shim was born in the pod's cgroup, and pause is born where the shim is. The peers give pause a group of its own
    // with cpu.shares 2; here the shim, which writes the logs, would starve in it, and pause does not run at all.
    request.oomScoreAdj = -998
    if let users = plan.namespaces.users {
      request.users.uid = users.uids.host
      request.users.gid = users.gids.host
    }
    request.user.uid = plan.pauseUser.uid
    request.user.gid = plan.pauseUser.gid
    request.user.groups = plan.pauseUser.groups
    request.pausePath = daemon.configuration.pausePath
    if let seccomp {
      request.seccomp = Data(seccomp.bytes)
      request.seccompFlags = seccomp.flags
    }
    if plan.namespaces.ipc != .node {
      request.shmDirectory = "/dev/shm"
      request.shmSize = 64 << 20
    }
    return request
  }

  /// The same release as StopPodSandbox's: it goes by identity and takes away whatever there is, wholly or half made.
  private func undo(_ sandbox: Sandbox) async {
    do {
      try await SandboxStop(daemon: daemon, sandbox: sandbox).release()
      try await daemon.forget(sandbox)
    } catch {
      daemon.logger.error(
        "a sandbox that failed to start could not be undone; it waits for StopPodSandbox",
        metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
      _ = sandbox.update { $0.state = .notReady }
      sandbox.show()
    }
  }
}
