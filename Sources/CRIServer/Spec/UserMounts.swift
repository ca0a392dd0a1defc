import CDI
import CRIProtocol
import RuntimeModel
import ShimProtocol

/// What a user namespace changes in a container's mounts.
enum UserMounts {
  /// - Parameters:
  ///   - mounts: all of the container's, the requested ones among them.
  ///   - extras: with directories of ours that have copies of what the image has in its `VOLUME`s.
  /// - Throws: `invalidArgument` naming the mount.
  static func adapted(
    _ mounts: [Swiftlet_Shim_V1_Mount], requested: [Runtime_V1_Mount], extras: MountPlan.Extras,
    namespaces: NamespaceChoice, isPrivileged: Bool
  ) throws(RuntimeError) -> [Swiftlet_Shim_V1_Mount] {
    var mapped: Set<[String]> = []
    for (index, request) in requested.enumerated() {
      guard try isMapped(request, field: "mounts[\(index)]", namespaces.users) else { continue }
      mapped.insert([MountPlan.cleaned(request.containerPath), request.hostPath])
    }
    guard let users = namespaces.users else { return mounts }
    for edit in extras.injected {
      mapped.insert([MountPlan.cleaned(edit.containerPath), edit.hostPath])
      try refuseSharing(edit, mounts)
    }
    return mounts.map { mount in
      var mount = mount
      switch mount.type {
      case "devpts": mount.data = mount.data.compactMap { terminalOption($0, users) }
      // The node's own, which is not the pod's to change.
      case "sysfs": mount.readonly = mount.readonly || namespaces.hasHostNetwork
      case "bind":
        mount.idMapped =
          mapped.contains([mount.destination, mount.source]) || extras.volumeDirectories.contains(mount.source)
        // A node of root's there is the container's root's, and its device cgroup refuses a privileged one nothing.
        mount.nodev = mount.nodev || (mount.idMapped && isPrivileged)
      default: break
      }
      return mount
    }
  }

  /// Whether a requested mount is to show the pod's ids.
  private static func isMapped(
    _ request: Runtime_V1_Mount, field: String, _ users: UserMapping?
  ) throws(RuntimeError) -> Bool {
    // From a mount namespace that a user namespace owns, nothing arrives in the node's (mount_namespaces(7)).
    guard users == nil || request.propagation != .propagationBidirectional else {
      throw RuntimeError(
        .invalidArgument, "\(field).propagation: BIDIRECTIONAL is not possible from a pod with a user namespace")
    }
    guard !request.uidMappings.isEmpty || !request.gidMappings.isEmpty else { return false }
    guard let users else {
      throw RuntimeError(.invalidArgument, "\(field).uidMappings: the pod has no user namespace to map ids to")
    }
    guard users.uids.equals(request.uidMappings), users.gids.equals(request.gidMappings) else {
      throw RuntimeError(
        .invalidArgument, "\(field).uidMappings, gidMappings: they differ from those of the pod's user namespace")
    }
    return true
  }

  private static func refuseSharing(_ edit: EditMount, _ mounts: [Swiftlet_Shim_V1_Mount]) throws(RuntimeError) {
    let place = MountPlan.cleaned(edit.containerPath)
    guard mounts.contains(where: { $0.destination == place && $0.propagation == .shared }) else { return }
    throw RuntimeError(
      .invalidArgument,
      "CDI mount at \(edit.containerPath): shared propagation is not possible from a pod with a user namespace")
  }

  /// The group of terminals is one of the node's ids here; without it they belong to the group of whoever opens them.
  private static func terminalOption(_ option: String, _ users: UserMapping) -> String? {
    guard option.hasPrefix("gid="), let group = UInt32(option.dropFirst(4)) else { return option }
    return group < users.gids.count ? "gid=\(users.gids.host + group)" : nil
  }
}
