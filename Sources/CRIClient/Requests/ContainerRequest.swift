import CRIProtocol
import Foundation

/// Builds `ContainerConfig` from a manifest the way kubelet fills it. Pure.
enum ContainerRequest {
  /// What kubelet hides from a container that is not privileged.
  static let maskedPaths = [
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
  ]
  static let readOnlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

  /// - Parameter image: what the runtime knows of the container's image.
  /// - Throws: ``ClientError`` when the manifest asks for a user that is not root and the image's is or may be.
  static func config(
    _ container: ContainerManifest, in pod: PodManifest, image: Runtime_V1_Image, _ plan: PodPlan
  ) throws(ClientError) -> Runtime_V1_ContainerConfig {
    var config = Runtime_V1_ContainerConfig()
    config.metadata.name = container.name
    config.image.image = image.id
    config.image.userSpecifiedImage = container.image
    let environment = Expansion.environment(container.environment)
    let values = Dictionary(environment.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
    config.command = container.command.map { Expansion.expand($0, with: values) }
    config.args = container.args.map { Expansion.expand($0, with: values) }
    config.workingDir = container.workingDir ?? ""
    config.envs = environment.map { variable in
      var entry = Runtime_V1_KeyValue()
      entry.key = variable.name
      entry.value = Data(variable.value.utf8)
      return entry
    }
    config.mounts = container.mounts.compactMap { mount($0, in: pod, plan) }
    config.labels = [
      Marks.podName: pod.name, Marks.podNamespace: pod.namespace, Marks.podUID: plan.uid,
      Marks.containerName: container.name,
    ]
    config.annotations = [Marks.restartCount: "0", Marks.gracePeriod: "\(pod.terminationGraceSeconds)"]
    config.logPath = "\(container.name)/0.log"
    config.stdin = container.stdin
    config.stdinOnce = container.stdinOnce
    config.tty = container.tty
    config.linux.resources = Resources.linux(container, in: pod, nodeMemoryBytes: plan.nodeMemoryBytes)
    config.linux.securityContext = try security(container, in: pod, image: image)
    return config
  }

  private static func mount(
    _ mount: VolumeMountManifest, in pod: PodManifest, _ plan: PodPlan
  ) -> Runtime_V1_Mount? {
    guard let volume = pod.volumes.first(where: { $0.name == mount.volume }) else { return nil }
    var result = Runtime_V1_Mount()
    result.containerPath = mount.path
    switch volume.source {
    case .emptyDirectory: result.hostPath = plan.emptyDirectory(volume.name)
    case .hostPath(let path, _): result.hostPath = path
    }
    result.readonly = mount.isReadOnly
    switch mount.propagation {
    case .none: result.propagation = .propagationPrivate
    case .hostToContainer: result.propagation = .propagationHostToContainer
    case .bidirectional: result.propagation = .propagationBidirectional
    }
    return result
  }

  private static func security(
    _ container: ContainerManifest, in pod: PodManifest, image: Runtime_V1_Image
  ) throws(ClientError) -> Runtime_V1_LinuxContainerSecurityContext {
    let wanted = container.security
    var context = Runtime_V1_LinuxContainerSecurityContext()
    context.capabilities.addCapabilities = wanted.addedCapabilities
    context.capabilities.dropCapabilities = wanted.droppedCapabilities
    context.privileged = wanted.privileged
    context.namespaceOptions = SandboxRequest.namespaceOptions(pod)
    try setUser(&context, container, in: pod, image: image)
    context.readonlyRootfs = wanted.readOnlyRootFilesystem
    context.supplementalGroups = pod.supplementalGroups
    context.noNewPrivs = wanted.allowPrivilegeEscalation == false
    if !wanted.privileged {
      context.maskedPaths = maskedPaths
      context.readonlyPaths = readOnlyPaths
    }
    // kubelet leaves a container unconfined unless told otherwise (SeccompDefault); here the safe profile is the
    // default.
    let profile = wanted.seccomp ?? pod.seccomp ?? (wanted.privileged ? .unconfined : .runtimeDefault)
    context.seccomp = SandboxRequest.seccomp(profile)
    return context
  }

  private static func setUser(
    _ context: inout Runtime_V1_LinuxContainerSecurityContext, _ container: ContainerManifest, in pod: PodManifest,
    image: Runtime_V1_Image
  ) throws(ClientError) {
    let user = container.security.runAsUser ?? pod.runAsUser
    if let user {
      context.runAsUser.value = user
    } else if image.hasUid {
      context.runAsUser = image.uid
    } else {
      context.runAsUsername = image.username
    }
    if let group = container.security.runAsGroup ?? pod.runAsGroup {
      if user == nil, !image.hasUid, image.username.isEmpty { context.runAsUser.value = 0 }
      context.runAsGroup.value = group
    }
    guard container.security.runAsNonRoot ?? pod.runAsNonRoot ?? false else { return }
    let what = "cannot create container \(pod.qualifiedName)/\(container.name)"
    if context.hasRunAsUser {
      guard context.runAsUser.value == 0 else { return }
      throw ClientError(
        .failed, what, why: "runAsNonRoot is set, but \(user == nil ? "the image's user" : "runAsUser") is 0",
        remedy: "set securityContext.runAsUser to a number above 0")
    }
    guard !image.username.isEmpty else {
      throw ClientError(
        .failed, what, why: "runAsNonRoot is set, but the image runs as root",
        remedy: "set securityContext.runAsUser to a number above 0")
    }
    throw ClientError(
      .failed, what,
      why: "runAsNonRoot is set, but the image's user \"\(image.username)\" is a name, which may be root's",
      remedy: "set securityContext.runAsUser to that user's number")
  }
}
