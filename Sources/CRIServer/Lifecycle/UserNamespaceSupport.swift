import CDI
import CRIProtocol
import LinuxSystem
import RuntimeModel
import SystemPackage

/// Whether pods can have user namespaces on this node, and why not; found out once, at the daemon's start.
struct UserNamespaceSupport: Sendable {
  /// In words; nil when they can.
  let obstacle: String?
  /// Whether a mount and all below it can be made read-only.
  let hasRecursiveReadonly: Bool

  /// Blocking: a millisecond.
  /// - Parameter layers: where the image store has its layers; they are shown to containers with other ids.
  static func probe(layers: String) -> UserNamespaceSupport {
    let any = UserMapping.Range(host: 65536, count: 65536)
    var obstacle: String?
    do {
      let made = try UserNamespace.make(UserMapping(uids: any, gids: any), withNetwork: true)
      try UserNamespace.tryIDMap(layers, users: made.users)
    } catch {
      obstacle = "\(error)"
    }
    return UserNamespaceSupport(obstacle: obstacle, hasRecursiveReadonly: UserNamespace.canMakeTreesReadonly())
  }

  /// - Throws: `failedPrecondition` when a plan wants what this node cannot give.
  func check(_ plan: SandboxPlan) throws(RuntimeError) {
    guard plan.namespaces.users != nil, let obstacle else { return }
    throw RuntimeError(
      .failedPrecondition,
      "config.linux.security_context.namespace_options.userns_options: not on this node: \(obstacle)")
  }
}

extension Daemon {
  /// Tries each mount that is to show the pod's ids: those that the request maps, and what CDI devices bring. The latter
  /// shall be as usable as in a pod without a user namespace; containerd shows it as nobody's. One whose source is not
  /// there yet is left to the start, which makes it, and so is what somebody mounts there meanwhile.
  /// - Throws: `failedPrecondition` naming the mount, its source and the source's file system.
  func checkIDMaps(_ mounts: [Runtime_V1_Mount], _ injected: [EditMount], of sandbox: Sandbox) async throws {
    var wanted: [(place: String, source: String)] = []
    for (index, mount) in mounts.enumerated() where !mount.uidMappings.isEmpty && mount.hostPath.hasPrefix("/") {
      wanted.append(("mounts[\(index)].uidMappings: \(mount.containerPath)", mount.hostPath))
    }
    for mount in injected where mount.isBind { wanted.append(("CDI mount at \(mount.containerPath)", mount.hostPath)) }
    guard !wanted.isEmpty, let pause = sandbox.record.pause else { return }
    try await hostPaths.run { [wanted] in
      let users = try UserNamespace.of(pid: pause.pid)
      for (place, source) in wanted {
        do throws(SystemCallError) {
          try UserNamespace.tryIDMap(source, users: users)
        } catch {
          if error.errno == .noSuchFileOrDirectory { continue }
          throw RuntimeError(
            .failedPrecondition,
            "\(place): the ids of host_path \(error.subject) cannot be mapped: \(SystemCallError.name(of: error.errno))"
          )
        }
      }
    }
  }
}
