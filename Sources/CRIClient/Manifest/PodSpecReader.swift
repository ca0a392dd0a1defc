import Yams

/// Reads `spec` of a Pod.
enum PodSpecReader {
  static func read(_ fields: FieldReader, into pod: inout PodManifest) {
    pod.hostNetwork = fields["hostNetwork"]?.bool() ?? false
    pod.hostPID = fields["hostPID"]?.bool() ?? false
    pod.hostIPC = fields["hostIPC"]?.bool() ?? false
    pod.shareProcessNamespace = fields["shareProcessNamespace"]?.bool() ?? false
    if pod.hostPID, pod.shareProcessNamespace {
      fields.origin.fail("hostPID and shareProcessNamespace exclude each other")
    }
    if let node = fields["hostname"], let hostname = node.string() {
      if let reason = Names.labelTrouble(hostname) { node.fail(reason) }
      pod.hostname = hostname
    }
    readDNS(fields, into: &pod)
    if let seconds = fields["terminationGracePeriodSeconds"]?.integer(0...31_536_000) {
      pod.terminationGraceSeconds = seconds
    }
    if let node = fields["restartPolicy"], let policy = node.choice(RestartPolicy.self) {
      pod.restartPolicy = policy.rawValue
      if policy != .never {
        node.fail("\(policy.rawValue) is noted, but without a kubelet nobody restarts a container yet", .note)
      }
    }
    if let security = fields["securityContext"]?.fields() { readSecurity(security, into: &pod) }
    pod.volumes = (fields["volumes"]?.items() ?? []).compactMap(readVolume)
    readContainers(fields, into: &pod)
    fields.ignored(["enableServiceLinks", "schedulerName", "automountServiceAccountToken"])
    fields.unsupported(
      [
        "activeDeadlineSeconds", "ephemeralContainers", "hostAliases", "hostUsers", "imagePullSecrets",
        "initContainers",
        "os", "overhead", "readinessGates", "resourceClaims", "resources", "runtimeClassName", "setHostnameAsFQDN",
        "subdomain",
      ])
    fields.unsupported(
      [
        "affinity", "nodeName", "nodeSelector", "preemptionPolicy", "priority", "priorityClassName", "schedulingGates",
        "serviceAccount", "serviceAccountName", "tolerations", "topologySpreadConstraints",
      ], "is a matter of the cluster's scheduler or API server and means nothing here")
    fields.finish()
  }

  private enum RestartPolicy: String, CaseIterable {
    case always = "Always"
    case onFailure = "OnFailure"
    case never = "Never"
  }

  private static func readContainers(_ fields: FieldReader, into pod: inout PodManifest) {
    guard let node = fields["containers"] else {
      fields.origin.fail("containers is missing")
      return
    }
    let items = node.items()
    if items.isEmpty, node.node.sequence != nil { node.fail("must hold at least one container") }
    let volumes = Set(pod.volumes.map(\.name))
    var names: Set<String> = []
    var hostPorts: Set<String> = []
    for item in items {
      guard let container = ContainerSpecReader.read(item, volumes: volumes) else { continue }
      if !names.insert(container.name).inserted { item.fail("container \(container.name) is there twice") }
      for port in container.ports where port.hostPort != 0 {
        let key = "\(port.hostIP):\(port.hostPort)/\(port.transport.rawValue)"
        if !hostPorts.insert(key).inserted { item.fail("host port \(port.hostPort) is asked for twice") }
        if pod.hostNetwork, port.hostPort != port.containerPort {
          item.fail("hostPort \(port.hostPort) must equal containerPort \(port.containerPort) on the host's network")
        }
      }
      pod.containers.append(container)
    }
  }

  private static func readSecurity(_ fields: FieldReader, into pod: inout PodManifest) {
    pod.runAsUser = fields["runAsUser"]?.integer(0...2_147_483_647)
    pod.runAsGroup = fields["runAsGroup"]?.integer(0...2_147_483_647)
    pod.runAsNonRoot = fields["runAsNonRoot"]?.bool()
    pod.seccomp = fields["seccompProfile"].flatMap(ContainerSpecReader.readSeccomp)
    pod.supplementalGroups = (fields["supplementalGroups"]?.items() ?? []).compactMap { $0.integer(0...2_147_483_647) }
    for item in fields["sysctls"]?.items() ?? [] {
      guard let entry = item.fields() else { continue }
      let name = entry.requiredString("name")
      let value = entry.requiredString("value")
      entry.finish()
      if let name, let value { pod.sysctls[name] = value }
    }
    fields.unsupported([
      "appArmorProfile", "fsGroup", "fsGroupChangePolicy", "seLinuxChangePolicy", "seLinuxOptions",
      "supplementalGroupsPolicy", "windowsOptions",
    ])
    fields.finish()
  }

  private static func readDNS(_ fields: FieldReader, into pod: inout PodManifest) {
    let policy = fields["dnsPolicy"]
    pod.dnsPolicy = policy?.choice(PodManifest.DNSPolicy.self)
    if let node = fields["dnsConfig"], let config = node.fields() {
      var dns = PodDNSManifest()
      dns.nameservers = config["nameservers"]?.strings() ?? []
      dns.searches = config["searches"]?.strings() ?? []
      for item in config["options"]?.items() ?? [] {
        guard let option = item.fields() else { continue }
        let name = option.requiredString("name")
        let value = option["value"]?.string()
        option.finish()
        if let name { dns.options.append(value.map { "\(name):\($0)" } ?? name) }
      }
      config.finish()
      pod.dnsConfig = dns
    }
    if pod.dnsPolicy == PodManifest.DNSPolicy.none, pod.dnsConfig?.nameservers.isEmpty ?? true {
      policy?.fail("None needs at least one entry in dnsConfig.nameservers")
    }
  }

  private static func readVolume(_ item: FieldNode) -> VolumeManifest? {
    guard let fields = item.fields() else { return nil }
    let name = fields.requiredString("name")
    if let name, let reason = Names.labelTrouble(name) { item.fail(reason) }
    var source: VolumeManifest.Source?
    if let node = fields["emptyDir"], let directory = node.fields() {
      directory.unsupported(["medium", "sizeLimit"])
      directory.finish()
      source = .emptyDirectory
    }
    if let node = fields["hostPath"], let path = node.fields() {
      if source != nil { item.fail("has more than one source") }
      source = readHostPath(node, path)
    }
    let others = [
      "configMap", "csi", "downwardAPI", "ephemeral", "image", "iscsi", "nfs", "persistentVolumeClaim", "projected",
      "secret",
    ]
    let before = item.report.problems.count
    fields.unsupported(others)
    fields.finish()
    guard let name else { return nil }
    guard let source else {
      if item.report.problems.count == before { item.fail("needs a source: emptyDir: {} or hostPath") }
      return nil
    }
    return VolumeManifest(name: name, source: source)
  }

  private static func readHostPath(_ node: FieldNode, _ fields: FieldReader) -> VolumeManifest.Source? {
    let path = fields.requiredString("path")
    let type = fields["type"]?.choice(VolumeManifest.HostPathType.self) ?? .unchecked
    fields.finish()
    guard let path else { return nil }
    if !path.hasPrefix("/") { node.fail("path \"\(path)\" must be absolute") }
    if path.split(separator: "/").contains("..") { node.fail("path \"\(path)\" must not contain \"..\"") }
    return .hostPath(path, type)
  }
}
