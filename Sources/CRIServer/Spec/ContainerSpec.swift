import CDI
import CRIProtocol
import FoundationEssentials
import LinuxSystem
import RuntimeModel
import ShimProtocol

/// Everything a container's process will be, as a pure function of the request, the image and the sandbox.
///
/// What can be refused is refused here, at CreateContainer; StartContainer only carries it out.
struct ContainerSpec: Sendable {
  /// What the spec is made from, beside the request itself.
  struct Surroundings: Sendable {
    var containerID: Identifier
    /// What the image says: the fields of its config that matter here.
    var image: ImageDefaults
    var users: UserDatabase
    var sandboxNamespaces: NamespaceChoice
    var sandboxIsPrivileged: Bool
    /// The pod's host name, or the node's with host network.
    var hostname: String
    var files: MountPlan.SandboxFiles
    /// An empty directory of ours on the node.
    var rootMountpoint: String
    var logDirectory: String
    /// The container's group, made when it starts.
    var cgroup: Cgroup
    var availableCapabilities: CapabilitySet
    var hostMounts: HostMounts
    var hostDevices: HostDevices
    /// Whether requested device nodes belong to run_as_user and run_as_group.
    var ownsDevices = false
    var extras = MountPlan.Extras()
    /// What CDI devices bring.
    var injected = ContainerEdits()
  }

  /// The part of an image's config that a process inherits.
  struct ImageDefaults: Sendable {
    var user = ""
    var environment: [String] = []
    var entrypoint: [String] = []
    var command: [String] = []
    var workingDirectory = ""
    var stopSignal = ""
  }

  var request: Swiftlet_Shim_V1_StartRequest
  var user: ProcessUser
  var seccomp: SeccompChoice
  var allowedDevices: [AllowedDevice]
  var stopSignal: UInt32

  /// - Throws: `RuntimeError` naming the field: `invalidArgument`, `failedPrecondition`, `unimplemented`.
  init(_ config: Runtime_V1_ContainerConfig, in around: Surroundings) throws(RuntimeError) {
    let security = config.linux.securityContext
    try UnsupportedFields.check(config)
    try Cgroup.Limits(config.linux.resources).check(prefix: "linux.resources.")
    guard !security.privileged || around.sandboxIsPrivileged else {
      throw RuntimeError(
        .invalidArgument, "linux.security_context.privileged: the sandbox was not created as privileged")
    }
    let namespaces = try NamespaceChoice(
      security.namespaceOptions, field: "linux.security_context.namespace_options", isSandbox: false)
    try Self.check(namespaces, against: around.sandboxNamespaces)
    user = try ProcessUser(security, imageUser: around.image.user, database: around.users)
    user.add(groups: around.injected.additionalGIDs)
    let profile = try SeccompChoice(
      profile: security.hasSeccomp ? security.seccomp : nil, path: security.seccompProfilePath,
      field: "linux.security_context")
    seccomp = security.privileged ? .unconfined : profile
    stopSignal = try StopSignal.resolve(config.stopSignal, image: around.image.stopSignal)
    let plan = try MountPlan(
      requested: config.mounts, namespaces: namespaces, isPrivileged: security.privileged, cgroup: around.cgroup,
      readonlyRootfs: security.readonlyRootfs, files: around.files, hostMounts: around.hostMounts,
      extras: around.extras)
    try namespaces.users?.check(user, security)
    let devices = try DevicePlan(config, user: user, around: around)
    allowedDevices = devices.allowed

    var request = Swiftlet_Shim_V1_StartRequest()
    request.containerID = around.containerID.value
    request.process = try Self.process(config, user: user, around: around)
    request.namespaces = namespaces.message
    request.rootfs.readonly = security.readonlyRootfs
    request.rootfs.nodev = security.privileged && namespaces.users != nil
    request.rootfs.mountpoint = around.rootMountpoint
    request.mounts = try UserMounts.adapted(
      plan.mounts, requested: config.mounts, extras: around.extras, namespaces: namespaces,
      isPrivileged: security.privileged)
    request.rootPropagation = plan.rootPropagation
    request.devices = devices.devices
    if !security.privileged {
      request.maskedPaths = security.maskedPaths
      request.readonlyPaths = security.readonlyPaths
    }
    request.logPath = try Self.logPath(config.logPath, directory: around.logDirectory)
    request.logDirectory = request.logPath.isEmpty ? "" : MountPlan.cleaned(around.logDirectory)
    request.stdin = config.stdin
    request.stdinOnce = config.stdinOnce
    request.stopSignal = stopSignal
    self.request = request
  }

  /// A container's network and IPC are its pod's or the node's, and the node's only if the pod's are.
  private static func check(
    _ namespaces: NamespaceChoice, against sandbox: NamespaceChoice
  ) throws(RuntimeError) {
    guard namespaces.users == sandbox.users else {
      throw RuntimeError(
        .invalidArgument,
        "linux.security_context.namespace_options.userns_options: they differ from the sandbox's")
    }
    for (name, mine, pods) in [
      ("network", namespaces.network, sandbox.network), ("ipc", namespaces.ipc, sandbox.ipc),
    ] where mine == .node && pods != .node {
      throw RuntimeError(
        .invalidArgument, "linux.security_context.namespace_options.\(name): NODE, but the sandbox has its own")
    }
    if namespaces.pid == .node && sandbox.pid != .node && sandbox.users != nil {
      throw RuntimeError(
        .invalidArgument,
        "linux.security_context.namespace_options.pid: NODE, but the sandbox has its own, and a user namespace")
    }
    if namespaces.pid == .pod && sandbox.pid != .pod {
      let own = sandbox.pid == .node ? "uses the node's" : "was made with CONTAINER: its containers share none"
      throw RuntimeError(
        .invalidArgument, "linux.security_context.namespace_options.pid: POD, but the sandbox \(own)")
    }
  }

  private static func process(
    _ config: Runtime_V1_ContainerConfig, user: ProcessUser, around: Surroundings
  ) throws(RuntimeError) -> Swiftlet_Shim_V1_Process {
    let security = config.linux.securityContext
    var process = Swiftlet_Shim_V1_Process()
    process.argv = try arguments(config, image: around.image).map { Data($0.utf8) }
    process.env = try environment(config, user: user, around: around).map { Data($0) }
    let size = try ArgumentSize.check(process.argv, field: "command")
    _ = try ArgumentSize.check(process.env, field: "envs", room: size)
    process.cwd = try workingDirectory(config, image: around.image)
    process.user.uid = user.uid
    process.user.gid = user.gid
    process.user.groups = user.groups
    let capabilities = try ProcessCapabilities(
      security.capabilities, available: around.availableCapabilities, isPrivileged: security.privileged)
    process.capabilities.bounding = capabilities.all.mask
    process.capabilities.permitted = capabilities.all.mask
    process.capabilities.effective = capabilities.all.mask
    process.capabilities.ambient = capabilities.ambient.mask
    process.capabilities.inheritable = capabilities.ambient.mask
    process.noNewPrivs = security.noNewPrivs
    process.tty = config.tty
    process.oomScoreAdj = try config.linux.resources.checkedOOMScore(prefix: "linux.resources.")
    process.setOomScoreAdj = true
    process.openFiles = DescriptorLimit.ofPrograms
    return process
  }

  private static func arguments(
    _ config: Runtime_V1_ContainerConfig, image: ImageDefaults
  ) throws(RuntimeError) -> [String] {
    let entrypoint = image.entrypoint == [""] ? [] : image.entrypoint
    let arguments: [String]
    if !config.command.isEmpty {
      arguments = config.command + config.args
    } else if !config.args.isEmpty {
      arguments = entrypoint + config.args
    } else {
      arguments = entrypoint + image.command
    }
    guard let first = arguments.first, !first.isEmpty else {
      throw RuntimeError(.invalidArgument, "command: neither the request nor the image names a program")
    }
    if let bad = arguments.first(where: { $0.utf8.contains(0) }) {
      throw RuntimeError(.invalidArgument, "command: \"\(bad.split(separator: "\0").first ?? "")…\" has a NUL byte")
    }
    return arguments
  }

  private static func environment(
    _ config: Runtime_V1_ContainerConfig, user: ProcessUser, around: Surroundings
  ) throws(RuntimeError) -> [[UInt8]] {
    let count = around.image.environment.count + config.envs.count
    guard count <= Environment.most else {
      throw RuntimeError(
        .invalidArgument, "envs: \(count) variables with the image's are more than \(Environment.most)")
    }
    var environment = Environment()
    for (index, variable) in config.envs.enumerated() {
      guard !variable.key.isEmpty, !variable.key.utf8.contains(where: { $0 == UInt8(ascii: "=") || $0 == 0 }) else {
        throw RuntimeError(.invalidArgument, "envs[\(index)].key: \"\(variable.key)\" is empty or has = or NUL in it")
      }
      guard !variable.value.contains(0) else {
        throw RuntimeError(.invalidArgument, "envs[\(index)].value: the value of \(variable.key) has a NUL byte")
      }
    }
    environment.set("PATH", Environment.standardPath)
    if !around.hostname.isEmpty { environment.set("HOSTNAME", around.hostname) }
    if config.tty { environment.set("TERM", Environment.standardTerminal) }
    for line in around.image.environment {
      guard !line.utf8.contains(0) else {
        throw RuntimeError(.invalidArgument, "image: its variable \"\(line.prefix { $0 != "\0" })\" has a NUL byte")
      }
      environment.add(line: line)
    }
    for variable in config.envs { environment.set(variable.key.utf8, variable.value) }
    for line in around.injected.environment { environment.add(line: line) }
    if !environment.contains("HOME") { environment.set("HOME", user.home) }
    return environment.lines
  }

  private static func workingDirectory(
    _ config: Runtime_V1_ContainerConfig, image: ImageDefaults
  ) throws(RuntimeError) -> String {
    let directory =
      !config.workingDir.isEmpty ? config.workingDir : image.workingDirectory.isEmpty ? "/" : image.workingDirectory
    guard directory.hasPrefix("/"), !directory.utf8.contains(0), directory.utf8.count < 4096 else {
      let field = config.workingDir.isEmpty ? "image WorkingDir" : "working_dir"
      throw RuntimeError(
        .invalidArgument, "\(field): \"\(directory.prefix(256))\" is not absolute, too long or has a NUL byte")
    }
    return MountPlan.cleaned(directory)
  }

  /// Joined and cleaned; empty when either part is.
  private static func logPath(_ path: String, directory: String) throws(RuntimeError) -> String {
    guard !path.isEmpty, !directory.isEmpty else { return "" }
    guard directory.hasPrefix("/") else {
      throw RuntimeError(.invalidArgument, "log_directory: \"\(directory)\" is not absolute")
    }
    guard !path.hasPrefix("/"), !path.pathComponents.contains("..") else {
      throw RuntimeError(.invalidArgument, "log_path: \"\(path)\" leaves log_directory")
    }
    return MountPlan.cleaned(directory + "/" + path)
  }
}
