import CDI
import CRIProtocol
import LinuxSystem
import RuntimeModel
import ShimProtocol

/// The device nodes of a container and what its device cgroup allows beside the defaults.
struct DevicePlan: Sendable {
  /// Who owns the nodes that a request asks for; nil: as on the node.
  struct Owner: Sendable {
    var uid: UInt32?
    var gid: UInt32?

    /// One of a pod's user namespace as the node knows him: nodes are made outside of it.
    func outside(_ users: UserMapping?) -> Owner {
      Owner(uid: uid.map { $0 &+ (users?.uids.host ?? 0) }, gid: gid.map { $0 &+ (users?.gids.host ?? 0) })
    }
  }

  var devices: [Swiftlet_Shim_V1_Device]
  var allowed: [AllowedDevice]

  /// The nodes every container has (CRI.md 2.8); the allowed for them are the cgroup's own defaults.
  private static let standard: [(path: String, major: UInt32, minor: UInt32)] = [
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8), ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
  ]

  /// File systems of their own below /dev, in every container.
  private static let mounted = ["/dev/pts", "/dev/shm", "/dev/mqueue"]

  /// - Parameter injected: what CDI adds; it wins over a node of the same path.
  /// - Throws: `invalidArgument` naming the device; `failedPrecondition` for one of CDI's that the node does not have.
  init(
    _ requested: [Runtime_V1_Device], isPrivileged: Bool, hostDevices: HostDevices, owner: Owner? = nil,
    injected: [DeviceNode] = [], user: Owner? = nil
  ) throws(RuntimeError) {
    devices = Self.standard.map { Self.node($0.path, type: "c", major: $0.major, minor: $0.minor, mode: 0o666) }
    allowed = []
    if isPrivileged { devices += hostDevices.all.map(Self.node) }
    for (index, device) in requested.enumerated() {
      try add(device, field: "devices[\(index)]", hostDevices: hostDevices, owner: owner)
    }
    for node in injected { try add(node, hostDevices: hostDevices, user: user) }
    var seen: Set<String> = []
    devices = devices.reversed().filter { seen.insert($0.path).inserted }.reversed()
  }

  init(
    _ config: Runtime_V1_ContainerConfig, user: ProcessUser, around: ContainerSpec.Surroundings
  ) throws(RuntimeError) {
    let security = config.linux.securityContext
    // Their values were checked with the user's.
    let owner = Owner(
      uid: security.hasRunAsUser ? UInt32(truncatingIfNeeded: security.runAsUser.value) : nil,
      gid: security.hasRunAsGroup ? UInt32(truncatingIfNeeded: security.runAsGroup.value) : nil)
    let users = around.sandboxNamespaces.users
    try self.init(
      config.devices, isPrivileged: security.privileged, hostDevices: around.hostDevices,
      owner: around.ownsDevices ? owner.outside(users) : nil, injected: around.injected.nodes,
      user: Owner(uid: user.uid, gid: user.gid).outside(users))
    // Its root has nodev, so that no node of the image's gets it to a device of the node's.
    let isClosed = users != nil && security.privileged
    if isClosed, let other = devices.first(where: { !$0.path.hasPrefix("/dev/") }) {
      throw RuntimeError(
        .unimplemented,
        "device \(other.path): a privileged container of a pod with a user namespace has devices below /dev only")
    }
  }

  private mutating func add(
    _ device: Runtime_V1_Device, field: String, hostDevices: HostDevices, owner: Owner?
  ) throws(RuntimeError) {
    guard !device.permissions.isEmpty, DeviceRule.Access(device.permissions) != nil else {
      throw RuntimeError(.invalidArgument, "\(field).permissions: \"\(device.permissions)\" is not a subset of rwm")
    }
    let container = device.containerPath.isEmpty ? device.hostPath : device.containerPath
    guard container.hasPrefix("/"), MountPlan.cleaned(container) != "/" else {
      throw RuntimeError(.invalidArgument, "\(field).container_path: \"\(container)\" is not an absolute path")
    }
    let place = MountPlan.cleaned(container)
    if let over = Self.mounted.first(where: { place == $0 || place.isBelow($0) }) {
      throw RuntimeError(
        .invalidArgument, "\(field).container_path: \"\(container)\" would be covered by the mount at \(over)")
    }
    guard let found = try hostDevices.find(device.hostPath, field: "\(field).host_path"), !found.isEmpty else {
      throw RuntimeError(.invalidArgument, "\(field).host_path: \(device.hostPath) is not a device on this node")
    }
    for node in found {
      var own = Self.node(node)
      own.path = MountPlan.cleaned(container + node.below)
      own.uid = owner?.uid ?? own.uid
      own.gid = owner?.gid ?? own.gid
      devices.append(own)
      allow(own, device.permissions)
    }
  }

  /// What the specification leaves out comes from the node's device; the owner, if it is left out, is the container's
  /// user, as CDI has it.
  private mutating func add(
    _ device: DeviceNode, hostDevices: HostDevices, user: Owner?
  ) throws(RuntimeError) {
    let all = try hostDevices.find(device.hostPath, field: "CDI device node \(device.path)")
    let found = all?.first { $0.below.isEmpty }
    let isComplete = device.type != nil && (device.major ?? 0) != 0
    guard isComplete || found != nil else {
      throw RuntimeError(
        .failedPrecondition, "CDI device node \(device.path): \(device.hostPath) is not a device on this node")
    }
    let type = device.type.map { $0 == "u" ? "c" : $0 } ?? found?.type ?? ""
    guard type == "b" || type == "c" else {
      throw RuntimeError(.unimplemented, "CDI device node \(device.path): a FIFO is not supported")
    }
    guard isComplete || found?.type == type else {
      throw RuntimeError(
        .failedPrecondition, "CDI device node \(device.path): \(device.hostPath) is not of type \(type)")
    }
    var own = Self.node(
      MountPlan.cleaned(device.path), type: type, major: device.major ?? 0, minor: device.minor ?? 0,
      mode: device.fileMode.map { $0 & 0o777 } ?? found?.mode ?? 0o666)
    if !isComplete, let found, own.major == 0 {
      own.major = found.major
      own.minor = found.minor
    }
    own.uid = device.uid ?? user?.uid ?? 0
    own.gid = device.gid ?? user?.gid ?? 0
    devices.append(own)
    allow(own, device.permissions)
  }

  private mutating func allow(_ device: Swiftlet_Shim_V1_Device, _ access: String) {
    allowed.append(
      AllowedDevice(
        kind: device.type == "c" ? .character : .block, major: device.major, minor: device.minor, access: access))
  }

  private static func node(_ host: HostDevices.Node) -> Swiftlet_Shim_V1_Device {
    var device = node(host.path, type: host.type, major: host.major, minor: host.minor, mode: host.mode)
    device.uid = host.uid
    device.gid = host.gid
    return device
  }

  private static func node(
    _ path: String, type: String, major: UInt32, minor: UInt32, mode: UInt32
  ) -> Swiftlet_Shim_V1_Device {
    var device = Swiftlet_Shim_V1_Device()
    device.path = path
    device.type = type
    device.major = major
    device.minor = minor
    device.mode = mode
    return device
  }
}
