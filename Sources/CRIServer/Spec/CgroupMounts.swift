import LinuxSystem
import ShimProtocol

/// What containers see at /sys/fs/cgroup.
extension MountPlan {
  private static let groups = "/sys/fs/cgroup"

  /// Their own group, which is the root of what their cgroup namespace has, read-only. cgroup v1 is never shown:
  /// release_agent and friends (ATTACKS L17, L18).
  static func ordinaryGroups(_ cgroup: Cgroup) -> [Swiftlet_Shim_V1_Mount] {
    cgroup.hierarchy.kind == .unified ? [special("cgroup2", groups, readonly: true)] : []
  }

  /// Privileged containers have no cgroup namespace, and may write. v2: the node's whole tree. v1 and hybrid: their own
  /// group of each hierarchy, as the peers do.
  ///
  /// By bind mounts of what the node has mounted: a new mount of cgroup2 without a cgroup namespace would set nsdelegate,
  /// memory_recursiveprot and its other options anew for the whole machine (cgroups(7)), since there is one superblock.
  static func privilegedGroups(_ cgroup: Cgroup) -> [Swiftlet_Shim_V1_Mount] {
    if cgroup.hierarchy.kind == .unified { return [bound(groups, cgroup.hierarchy.unifiedRoot ?? groups)] }
    let top = special("tmpfs", groups, ["mode=755", "size=64k"])
    return [top] + cgroup.named.map { bound("\(groups)/\($0.name)", $0.directory) }
  }

  private static func bound(_ destination: String, _ source: String) -> Swiftlet_Shim_V1_Mount {
    file(destination, source, nosuid: true, nodev: true, noexec: true)
  }
}
