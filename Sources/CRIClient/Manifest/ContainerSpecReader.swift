import RuntimeModel

/// Reads one entry of `spec.containers`.
enum ContainerSpecReader {
  /// - Parameter volumes: the names that a mount may refer to.
  static func read(_ item: FieldNode, volumes: Set<String>) -> ContainerManifest? {
    guard let fields = item.fields() else { return nil }
    let name = fields.requiredString("name")
    let image = fields.requiredString("image")
    if let name, let reason = Names.labelTrouble(name) { item.fail(reason) }
    var container = ContainerManifest(name: name ?? "", image: image ?? "")
    container.imagePullPolicy = fields["imagePullPolicy"]?.choice(ContainerManifest.ImagePullPolicy.self)
    container.command = fields["command"]?.strings() ?? []
    container.args = fields["args"]?.strings() ?? []
    container.workingDir = fields["workingDir"]?.string()
    container.environment = (fields["env"]?.items() ?? []).compactMap(readVariable)
    container.ports = (fields["ports"]?.items() ?? []).compactMap(readPort)
    container.mounts = readMounts(fields["volumeMounts"], volumes: volumes)
    if let resources = fields["resources"]?.fields() { readResources(resources, into: &container) }
    if let security = fields["securityContext"]?.fields() {
      container.security = readSecurity(security)
      checkEscalation(container.security, security.origin)
    }
    container.stdin = fields["stdin"]?.bool() ?? false
    container.stdinOnce = fields["stdinOnce"]?.bool() ?? false
    container.tty = fields["tty"]?.bool() ?? false
    fields.ignored(["terminationMessagePath", "terminationMessagePolicy"])
    fields.unsupported([
      "envFrom", "lifecycle", "livenessProbe", "readinessProbe", "resizePolicy", "restartPolicy", "startupProbe",
      "volumeDevices",
    ])
    fields.finish()
    return name != nil && image != nil ? container : nil
  }

  private static func readVariable(_ item: FieldNode) -> EnvironmentVariable? {
    guard let fields = item.fields() else { return nil }
    let name = fields.requiredString("name")
    let value = fields["value"]?.string()
    fields.unsupported(["valueFrom"])
    fields.finish()
    guard let name else { return nil }
    if name.contains("=") { item.fail("name \"\(name)\" must not contain \"=\"") }
    return EnvironmentVariable(name: name, value: value ?? "")
  }

  private static func readPort(_ item: FieldNode) -> PortManifest? {
    guard let fields = item.fields() else { return nil }
    let number = fields["containerPort"]
    let port = number?.integer(1...65_535)
    if number == nil { item.fail("containerPort is missing") }
    var result = PortManifest(containerPort: Int32(port ?? 0))
    result.hostPort = Int32(fields["hostPort"]?.integer(0...65_535) ?? 0)
    result.hostIP = fields["hostIP"]?.string() ?? ""
    result.transport = fields["protocol"]?.choice(PortManifest.Transport.self) ?? .tcp
    _ = fields["name"]?.string()
    fields.finish()
    return port == nil ? nil : result
  }

  private static func readMounts(_ node: FieldNode?, volumes: Set<String>) -> [VolumeMountManifest] {
    var paths: Set<String> = []
    return (node?.items() ?? []).compactMap { item in
      guard let fields = item.fields() else { return nil }
      let name = fields.requiredString("name")
      let path = fields.requiredString("mountPath")
      var mount = VolumeMountManifest(volume: name ?? "", path: path ?? "")
      mount.isReadOnly = fields["readOnly"]?.bool() ?? false
      mount.propagation = fields["mountPropagation"]?.choice(VolumeMountManifest.Propagation.self) ?? .none
      // A container may put a symbolic link where a later mount's sub-path is looked up; until the runtime itself can
      // resolve it below the volume, it is refused.
      fields.unsupported(["subPath", "subPathExpr", "recursiveReadOnly"])
      fields.finish()
      guard let name, let path else { return nil }
      if !path.hasPrefix("/") { item.fail("mountPath \"\(path)\" must be absolute") }
      if path.contains(":") { item.fail("mountPath \"\(path)\" must not contain \":\"") }
      if !paths.insert(path).inserted { item.fail("mountPath \"\(path)\" is there twice") }
      if !volumes.contains(name) { item.fail("volume \"\(name)\" is not in spec.volumes") }
      return mount
    }
  }

  private static func readResources(_ fields: FieldReader, into container: inout ContainerManifest) {
    if let limits = fields["limits"]?.fields() { container.limits = readAmounts(limits) }
    if let requests = fields["requests"]?.fields() { container.requests = readAmounts(requests) }
    fields.unsupported(["claims"])
    fields.finish()
    if let request = container.requests.milliCPU, let limit = container.limits.milliCPU, request > limit {
      fields.origin.fail("the cpu request is above the limit")
    }
    if let request = container.requests.memoryBytes, let limit = container.limits.memoryBytes, request > limit {
      fields.origin.fail("the memory request is above the limit")
    }
  }

  private static func readAmounts(_ fields: FieldReader) -> ResourceAmounts {
    let amounts = ResourceAmounts(
      milliCPU: fields["cpu"]?.quantity()?.milliCPU, memoryBytes: fields["memory"]?.quantity()?.units)
    fields.unsupported(["ephemeral-storage"])
    fields.finish()
    return amounts
  }

  private static func readSecurity(_ fields: FieldReader) -> ContainerSecurityManifest {
    var security = ContainerSecurityManifest()
    security.runAsUser = fields["runAsUser"]?.integer(0...2_147_483_647)
    security.runAsGroup = fields["runAsGroup"]?.integer(0...2_147_483_647)
    security.runAsNonRoot = fields["runAsNonRoot"]?.bool()
    security.privileged = fields["privileged"]?.bool() ?? false
    security.readOnlyRootFilesystem = fields["readOnlyRootFilesystem"]?.bool() ?? false
    security.allowPrivilegeEscalation = fields["allowPrivilegeEscalation"]?.bool()
    security.seccomp = fields["seccompProfile"].flatMap(readSeccomp)
    if let capabilities = fields["capabilities"]?.fields() {
      security.addedCapabilities = capabilities["add"]?.strings() ?? []
      security.droppedCapabilities = capabilities["drop"]?.strings() ?? []
      capabilities.finish()
    }
    fields.unsupported(["appArmorProfile", "procMount", "seLinuxOptions", "windowsOptions"])
    fields.finish()
    return security
  }

  /// The API server's rule: what can gain privileges anyway cannot be told not to.
  private static func checkEscalation(_ security: ContainerSecurityManifest, _ node: FieldNode) {
    guard security.allowPrivilegeEscalation == false else { return }
    if security.privileged { node.fail("allowPrivilegeEscalation: false and privileged: true exclude each other") }
    let admin = ["SYS_ADMIN", "CAP_SYS_ADMIN"]
    if security.addedCapabilities.contains(where: { admin.contains($0.uppercased()) }) {
      node.fail("allowPrivilegeEscalation: false and the capability SYS_ADMIN exclude each other")
    }
  }

  static func readSeccomp(_ node: FieldNode) -> SeccompManifest? {
    guard let fields = node.fields() else { return nil }
    let type = fields.requiredString("type")
    let profile = fields["localhostProfile"]?.string()
    fields.finish()
    switch type {
    case nil: return nil
    case "Localhost":
      guard let profile, profile.hasPrefix("/") else {
        node.fail("localhostProfile must be the absolute path of a profile on this machine")
        return nil
      }
      return .localhost(profile)
    case "RuntimeDefault", "Unconfined":
      if profile != nil { node.fail("localhostProfile goes with type Localhost only") }
      return type == "Unconfined" ? .unconfined : .runtimeDefault
    case let other?:
      node.fail("type \"\(other)\" is not one of \"RuntimeDefault\", \"Unconfined\", \"Localhost\"")
      return nil
    }
  }
}
