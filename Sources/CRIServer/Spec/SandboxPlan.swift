import CRIProtocol
import LinuxSystem
import PodNetwork
import RuntimeModel

/// A RunPodSandbox request, checked: everything that can be refused is refused here, before anything is made.
struct SandboxPlan: Sendable {
  var metadata: SandboxMetadata
  var config: Runtime_V1_PodSandboxConfig
  var runtimeHandler: String
  var namespaces: NamespaceChoice
  var seccomp: SeccompChoice
  /// Who pause is.
  var pauseUser: PauseUser
  var cgroupParent: String
  var ports: [HostPort]
  var traffic: TrafficOptions

  /// `default/web attempt 0`, for errors and logs.
  var subject: String { "\(metadata.namespace)/\(metadata.name) attempt \(metadata.attempt)" }

  var hostname: String { config.effectiveHostname(namespaces) }

  /// - Parameter defaultParent: the cgroup parent of requests that name none.
  /// - Throws: `invalidArgument` or `unimplemented` naming the field.
  init(_ request: Runtime_V1_RunPodSandboxRequest, defaultParent: String) throws(RuntimeError) {
    guard request.hasConfig else { throw RuntimeError(.invalidArgument, "config is missing") }
    config = request.config
    guard config.hasMetadata else { throw RuntimeError(.invalidArgument, "config.metadata is missing") }
    for (field, value) in [
      ("name", config.metadata.name), ("namespace", config.metadata.namespace), ("uid", config.metadata.uid),
    ] where value.isEmpty {
      throw RuntimeError(.invalidArgument, "config.metadata.\(field) is empty")
    }
    guard ["", Daemon.name].contains(request.runtimeHandler) else {
      throw RuntimeError(
        .invalidArgument, "runtime_handler: \"\(request.runtimeHandler)\" is unknown; this node has \"\(Daemon.name)\"")
    }
    runtimeHandler = request.runtimeHandler
    metadata = SandboxMetadata(
      name: config.metadata.name, namespace: config.metadata.namespace, uid: config.metadata.uid,
      attempt: config.metadata.attempt)
    try UnsupportedFields.check(config)
    let security = config.linux.securityContext
    namespaces = try NamespaceChoice(
      security.namespaceOptions, field: "config.linux.security_context.namespace_options", isSandbox: true)
    pauseUser = try PauseUser(security, users: namespaces.users)
    seccomp = try SeccompChoice(
      profile: security.hasSeccomp ? security.seccomp : nil, path: security.seccompProfilePath,
      field: "config.linux.security_context")
    cgroupParent = try Self.cgroupParent(config.linux.cgroupParent, default: defaultParent)
    try SandboxNames.check(hostname: config.hostname)
    try SandboxNames.check(config.dnsConfig)
    try SysctlRules.check(config.linux.sysctls, namespaces: namespaces)
    if !config.logDirectory.isEmpty && !config.logDirectory.hasPrefix("/") {
      throw RuntimeError(.invalidArgument, "config.log_directory: \"\(config.logDirectory)\" is not absolute")
    }
    ports = try HostPorts.published(config.portMappings, namespaces: namespaces)
    traffic = try PodTraffic.options(config, namespaces: namespaces)
  }

  /// - Throws: `invalidArgument`: not absolute, with `..`, deeper than 32, or in systemd's form.
  private static func cgroupParent(_ text: String, default parent: String) throws(RuntimeError) -> String {
    guard !text.isEmpty else { return parent }
    let field = "config.linux.cgroup_parent"
    guard !text.pathComponents.contains(where: { $0.hasSuffix(".slice") }) else {
      throw RuntimeError(
        .invalidArgument,
        "\(field): \"\(text)\" is in systemd's form; this runtime uses cgroupfs: set kubelet's cgroupDriver to cgroupfs"
      )
    }
    do {
      return try CgroupHierarchy.checkedPath(text)
    } catch {
      throw RuntimeError(.invalidArgument, "\(field): \(error.message)")
    }
  }
}
