import CRIProtocol
import RuntimeModel
import ShimProtocol

/// The device nodes of a container and what its device cgroup allows beside the defaults.
struct DevicePlan: Sendable {
  var devices: [Swiftlet_Shim_V1_Device]
  var allowed: [AllowedDevice]

  /// The nodes every container has (CRI.md 2.8); the allowed for them are the cgroup's own defaults.
  private static let standard: [(path: String, major: UInt32, minor: UInt32)] = [
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8), ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
  ]

  /// - Throws: `invalidArgument` naming the device.
  init(
    _ requested: [Runtime_V1_Device], isPrivileged: Bool, hostDevices: HostDevices
  ) throws(RuntimeError) {
    devices = Self.standard.map { Self.node($0.path, type: "c", major: $0.major, minor: $0.minor, mode: 0o666) }
    allowed = []
    if isPrivileged { devices += hostDevices.all.map(Self.node) }
    for (index, device) in requested.enumerated() {
      let field = "devices[\(index)]"
      guard Set(device.permissions).isSubset(of: "rwm"), !device.permissions.isEmpty else {
        throw RuntimeError(.invalidArgument, "\(field).permissions: \"\(device.permissions)\" is not a subset of rwm")
      }
      guard let found = hostDevices.find(device.hostPath), !found.isEmpty else {
        throw RuntimeError(.invalidArgument, "\(field).host_path: \(device.hostPath) is not a device on this node")
      }
      let container = device.containerPath.isEmpty ? device.hostPath : device.containerPath
      for node in found {
        var own = Self.node(node)
        own.path = MountPlan.cleaned(container + node.path.dropFirst(device.hostPath.utf8.count))
        devices.append(own)
        allowed.append(
          AllowedDevice(
            kind: node.type == "c" ? .character : .block, major: node.major, minor: node.minor,
            access: device.permissions))
      }
    }
    var seen: Set<String> = []
    devices = devices.reversed().filter { seen.insert($0.path).inserted }.reversed()
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
