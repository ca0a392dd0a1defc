import CDI
import CRIProtocol
import LinuxSystem
import RuntimeModel
import ShimProtocol

/// What a container sees mounted: our defaults (CRI.md 2.8) below what the request asks for.
struct MountPlan: Sendable {
  /// Files and directories of the sandbox that containers see.
  struct SandboxFiles: Sendable {
    var hosts: String
    var hostname: String
    var resolvConf: String
  }

  /// What a container sees of images beside its own root, and of devices.
  struct Extras: Sendable {
    /// Images that the request mounts, by the index of their mount.
    var images: [Int: ImageVolume] = [:]
    /// The image's own volumes: paths, and a directory of the node for each.
    var volumes: [String] = []
    var volumeDirectories: [String] = []
    /// What CDI devices bring; each replaces what else is at its place.
    var injected: [EditMount] = []
  }

  /// More than any pod has; the kernel's own limit for a namespace is 100,000 (fs.mount-max).
  static let most = 10_000

  /// In the order in which they are mounted: parents before children, but for an image's own volumes.
  var mounts: [Swiftlet_Shim_V1_Mount]
  var rootPropagation: Swiftlet_Shim_V1_Propagation

  /// - Throws: `invalidArgument` naming the mount.
  init(
    requested: [Runtime_V1_Mount], namespaces: NamespaceChoice, isPrivileged: Bool, cgroup: Cgroup,
    readonlyRootfs: Bool, files: SandboxFiles, hostMounts: HostMounts, extras: Extras = Extras()
  ) throws(RuntimeError) {
    var own: [Swiftlet_Shim_V1_Mount] = []
    for (index, mount) in requested.enumerated() {
      own.append(
        try Self.bind(mount, field: "mounts[\(index)]", image: extras.images[index], hostMounts: hostMounts))
    }
    let volumes = DeclaredVolumes.mounts(extras.volumes, directories: extras.volumeDirectories, requested: own)
    own += volumes.inOrder
    for edit in extras.injected {
      let mount = try Swiftlet_Shim_V1_Mount(edit)
      own.removeAll { $0.destination == mount.destination }
      own.append(mount)
    }
    rootPropagation = Self.rootPropagation(own)
    let taken = Set(own.map(\.destination))
    let defaults = Self.defaults(
      namespaces: namespaces, isPrivileged: isPrivileged, cgroup: cgroup, readonlyRootfs: readonlyRootfs, files: files
    ).filter { mount in
      !taken.contains(mount.destination)
        && !["/dev", "/sys", "/sys/fs/cgroup"].contains { taken.contains($0) && mount.destination.isBelow($0) }
    }
    // Swift's sort is stable: among mounts of one depth the request's order stays.
    mounts = volumes.first + (defaults + own).sorted { Self.depth($0.destination) < Self.depth($1.destination) }
  }

  /// The root must not cut off what a mount below it is to receive or share.
  private static func rootPropagation(_ mounts: [Swiftlet_Shim_V1_Mount]) -> Swiftlet_Shim_V1_Propagation {
    let all = mounts.map(\.propagation)
    return all.contains(.shared) ? .shared : all.contains(.slave) ? .slave : .private
  }

  /// Where SELinux is off there is nothing to label; where it is on, a label that is not set would lock the container out
  /// of what it asked for, and nobody would know why.
  ///
  /// - Throws: `unimplemented` naming the mount.
  static func checkLabels(_ mounts: [Runtime_V1_Mount], hasSELinux: Bool) throws(RuntimeError) {
    if hasSELinux, let index = mounts.firstIndex(where: \.selinuxRelabel) {
      throw RuntimeError(.unimplemented, "mounts[\(index)].selinux_relabel: swiftletd does not apply SELinux yet")
    }
  }

  static func depth(_ path: String) -> Int { path.pathComponents.count }

  private static func defaults(
    namespaces: NamespaceChoice, isPrivileged: Bool, cgroup: Cgroup, readonlyRootfs: Bool, files: SandboxFiles
  ) -> [Swiftlet_Shim_V1_Mount] {
    var mounts = [
      special("proc", "/proc"),
      special("tmpfs", "/dev", noexec: false, nodev: false, ["strictatime", "mode=755", "size=65536k"]),
      special("devpts", "/dev/pts", nodev: false, ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
      special("mqueue", "/dev/mqueue"),
      special("sysfs", "/sys", readonly: !isPrivileged),
    ]
    if namespaces.ipc == .node {
      mounts.append(file("/dev/shm", "/dev/shm", nosuid: true, nodev: true, noexec: true))
    } else {
      mounts.append(special("shm", "/dev/shm"))
    }
    mounts += isPrivileged ? privilegedGroups(cgroup) : ordinaryGroups(cgroup)
    mounts.append(file("/etc/hosts", files.hosts, readonly: readonlyRootfs))
    mounts.append(file("/etc/hostname", files.hostname, readonly: readonlyRootfs))
    mounts.append(file("/etc/resolv.conf", files.resolvConf, readonly: readonlyRootfs))
    return mounts
  }

  static func special(
    _ type: String, _ destination: String, readonly: Bool = false, noexec: Bool = true, nodev: Bool = true,
    _ data: [String] = []
  ) -> Swiftlet_Shim_V1_Mount {
    var mount = Swiftlet_Shim_V1_Mount()
    mount.type = type
    mount.destination = destination
    mount.readonly = readonly
    mount.nosuid = true
    mount.noexec = noexec
    mount.nodev = nodev
    mount.data = data
    return mount
  }

  static func file(
    _ destination: String, _ source: String, readonly: Bool = false, nosuid: Bool = false, nodev: Bool = false,
    noexec: Bool = false
  ) -> Swiftlet_Shim_V1_Mount {
    var mount = Swiftlet_Shim_V1_Mount()
    mount.type = "bind"
    mount.source = source
    mount.destination = destination
    mount.readonly = readonly
    mount.nosuid = nosuid
    mount.nodev = nodev
    mount.noexec = noexec
    return mount
  }

  private static func bind(
    _ request: Runtime_V1_Mount, field: String, image: ImageVolume?, hostMounts: HostMounts
  ) throws(RuntimeError) -> Swiftlet_Shim_V1_Mount {
    var mount = Swiftlet_Shim_V1_Mount()
    mount.destination = try MountDestination.check(request.containerPath, field: "\(field).container_path")
    if request.wantsImage {
      try ImageVolume.check(request, field: field)
      image?.apply(to: &mount, subPath: request.imageSubPath)
    } else {
      guard request.imageSubPath.isEmpty else {
        throw RuntimeError(.invalidArgument, "\(field).image_sub_path is set without image")
      }
      guard request.hostPath.hasPrefix("/"), !request.hostPath.utf8.contains(0) else {
        throw RuntimeError(.invalidArgument, "\(field).host_path: \"\(request.hostPath)\" is not absolute")
      }
      mount.type = "bind"
      mount.source = request.hostPath
      mount.readonly = request.readonly
      mount.recursive = true
      mount.createSource = true
      mount.propagation = try propagation(request, field: field, hostMounts: hostMounts)
    }
    try applyOptions(request, field: field, to: &mount)
    return mount
  }

  private static func applyOptions(
    _ request: Runtime_V1_Mount, field: String, to mount: inout Swiftlet_Shim_V1_Mount
  ) throws(RuntimeError) {
    if request.recursiveReadOnly {
      guard request.readonly && request.propagation == .propagationPrivate else {
        throw RuntimeError(
          .invalidArgument, "\(field).recursive_read_only needs readonly and PROPAGATION_PRIVATE")
      }
      mount.recursiveReadonly = true
    }
    for option in request.mountOptions {
      switch option {
      case "noexec": mount.noexec = true
      case "nodev": mount.nodev = true
      case "nosuid": mount.nosuid = true
      default:
        throw RuntimeError(.invalidArgument, "\(field).mount_options: \"\(option)\" is not noexec, nodev or nosuid")
      }
    }
  }

  private static func propagation(
    _ request: Runtime_V1_Mount, field: String, hostMounts: HostMounts
  ) throws(RuntimeError) -> Swiftlet_Shim_V1_Propagation {
    switch request.propagation {
    case .propagationPrivate: return .private
    case .propagationHostToContainer:
      let source = hostMounts.resolved(request.hostPath)
      guard hostMounts.propagation(of: source) != .private else {
        throw RuntimeError(.invalidArgument, "\(field): host_path \(source) is not on a shared or slave mount")
      }
      return .slave
    case .propagationBidirectional:
      let source = hostMounts.resolved(request.hostPath)
      guard hostMounts.propagation(of: source) == .shared else {
        throw RuntimeError(.invalidArgument, "\(field): host_path \(source) is not on a shared mount")
      }
      return .shared
    case .UNRECOGNIZED(let value):
      throw RuntimeError(.invalidArgument, "\(field).propagation: \(value) is not a propagation")
    }
  }

  /// Without doubled or trailing slashes, `.` and `..`: `..` at the root stays there, as in a path walk.
  static func cleaned(_ path: String) -> String {
    var parts: [Substring] = []
    for part in path.pathComponents where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }
}
