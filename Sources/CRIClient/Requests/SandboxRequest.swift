import CRIProtocol

/// Builds `PodSandboxConfig` from a manifest the way kubelet fills it. Pure.
enum SandboxRequest {
  static func config(
    _ pod: PodManifest, _ plan: PodPlan, manifest: Value? = nil
  ) -> Runtime_V1_PodSandboxConfig {
    var config = Runtime_V1_PodSandboxConfig()
    config.metadata.name = pod.name
    config.metadata.namespace = pod.namespace
    config.metadata.uid = plan.uid
    // The host's network comes with the host's name.
    config.hostname = pod.hostNetwork ? "" : hostname(pod)
    config.logDirectory = plan.logDirectory(pod)
    if let dns = dns(pod, nodeResolver: plan.nodeResolver) { config.dnsConfig = dns }
    config.portMappings = pod.hostNetwork ? [] : pod.containers.flatMap(\.ports).map(portMapping)
    config.labels = pod.labels
    config.labels[Marks.podName] = pod.name
    config.labels[Marks.podNamespace] = pod.namespace
    config.labels[Marks.podUID] = plan.uid
    config.annotations = pod.annotations
    config.annotations[Marks.logDirectory] = plan.logDirectory(pod)
    config.annotations[Marks.volumeDirectory] = plan.volumeDirectory
    if let manifest { config.annotations[Marks.manifest] = manifest.json(compact: true) }
    config.linux = linux(pod)
    return config
  }

  static func namespaceOptions(_ pod: PodManifest) -> Runtime_V1_NamespaceOption {
    var options = Runtime_V1_NamespaceOption()
    options.network = pod.hostNetwork ? .node : .pod
    options.pid = pod.hostPID ? .node : pod.shareProcessNamespace ? .pod : .container
    options.ipc = pod.hostIPC ? .node : .pod
    return options
  }

  static func seccomp(_ profile: SeccompManifest) -> Runtime_V1_SecurityProfile {
    var result = Runtime_V1_SecurityProfile()
    switch profile {
    case .runtimeDefault: result.profileType = .runtimeDefault
    case .unconfined: result.profileType = .unconfined
    case .localhost(let path):
      result.profileType = .localhost
      result.localhostRef = path
    }
    return result
  }

  /// A pod's name may be longer than a host's may: kubelet cuts it at 63 bytes, without a trailing dash or dot.
  private static func hostname(_ pod: PodManifest) -> String {
    if let hostname = pod.hostname { return hostname }
    var name = String(pod.name.prefix(63))
    while let last = name.last, last == "-" || last == "." { name.removeLast() }
    return name
  }

  private static func linux(_ pod: PodManifest) -> Runtime_V1_LinuxPodSandboxConfig {
    var linux = Runtime_V1_LinuxPodSandboxConfig()
    linux.sysctls = pod.sysctls
    linux.securityContext.namespaceOptions = namespaceOptions(pod)
    linux.securityContext.privileged = pod.containers.contains { $0.security.privileged }
    linux.securityContext.seccomp = seccomp(.runtimeDefault)
    linux.securityContext.supplementalGroups = pod.supplementalGroups
    if let user = pod.runAsUser {
      linux.securityContext.runAsUser.value = user
      // The runtime refuses a group without a user; for the sandbox itself neither matters.
      if let group = pod.runAsGroup { linux.securityContext.runAsGroup.value = group }
    }
    return linux
  }

  private static func portMapping(_ port: PortManifest) -> Runtime_V1_PortMapping {
    var mapping = Runtime_V1_PortMapping()
    mapping.containerPort = port.containerPort
    mapping.hostPort = port.hostPort
    mapping.hostIp = port.hostIP
    switch port.transport {
    case .tcp: mapping.protocol = .tcp
    case .udp: mapping.protocol = .udp
    case .sctp: mapping.protocol = .sctp
    }
    return mapping
  }

  /// - Returns: nil when the pod takes the node's resolver as it is, which the runtime does by itself.
  private static func dns(_ pod: PodManifest, nodeResolver: String) -> Runtime_V1_DNSConfig? {
    guard let wanted = pod.dnsConfig else { return nil }
    var config = Runtime_V1_DNSConfig()
    if pod.dnsPolicy != PodManifest.DNSPolicy.none {
      let node = parseResolver(nodeResolver)
      config.servers = node.nameservers
      config.searches = node.searches
      config.options = node.options
    }
    config.servers = unique(config.servers + wanted.nameservers)
    config.searches = unique(config.searches + wanted.searches)
    let overridden = Set(wanted.options.map(optionName))
    config.options = config.options.filter { !overridden.contains(optionName($0)) } + wanted.options
    return config
  }

  private static func optionName(_ option: String) -> String {
    option.split(separator: ":", maxSplits: 1).first.map(String.init) ?? option
  }

  /// resolv.conf(5), as far as the three lines that a pod inherits.
  static func parseResolver(_ text: String) -> PodDNSManifest {
    var result = PodDNSManifest()
    for line in text.split(separator: "\n") {
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).map(String.init)
      switch words.first {
      case "nameserver": result.nameservers += words.dropFirst().prefix(1)
      case "search", "domain": result.searches = Array(words.dropFirst())
      case "options": result.options += words.dropFirst()
      default: break
      }
    }
    return result
  }

  private static func unique(_ values: [String]) -> [String] {
    var seen: Set<String> = []
    return values.filter { seen.insert($0).inserted }
  }
}
