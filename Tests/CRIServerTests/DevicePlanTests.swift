import CDI
import CRIProtocol
import RuntimeModel
import ShimProtocol
import Testing

@testable import CRIServer

@Suite struct DevicePlanTests {
  private static func device(
    _ host: String, _ container: String = "", _ permissions: String = "rw"
  ) -> Runtime_V1_Device {
    var device = Runtime_V1_Device()
    device.hostPath = host
    device.containerPath = container
    device.permissions = permissions
    return device
  }

  @Test func aDeviceAndItsRule() throws {
    let plan = try DevicePlan(
      [Self.device("/dev/zero", "/dev/deep/mine", "r")], isPrivileged: false, hostDevices: HostDevices())
    let node = try #require(plan.devices.first { $0.path == "/dev/deep/mine" })
    #expect(node.type == "c" && node.major == 1 && node.minor == 5)
    #expect(plan.allowed == [AllowedDevice(kind: .character, major: 1, minor: 5, access: "r")])
    #expect(plan.devices.contains { $0.path == "/dev/null" })
  }

  @Test func theOwnerIsTheNodesUnlessConfigured() throws {
    let plan = try DevicePlan(
      [Self.device("/dev/zero", "/dev/a")], isPrivileged: false, hostDevices: HostDevices(),
      owner: DevicePlan.Owner(uid: 1000, gid: nil))
    #expect(plan.devices.first { $0.path == "/dev/a" }?.uid == 1000)
    #expect(plan.devices.first { $0.path == "/dev/null" }?.uid == 0)
  }

  @Test(arguments: [
    (DevicePlanTests.device("/dev/none"), "host_path"), (DevicePlanTests.device("/etc/passwd"), "host_path"),
    (DevicePlanTests.device("dev/null"), "container_path"),
    (DevicePlanTests.device("/dev/null", "x"), "container_path"),
    (DevicePlanTests.device("/dev/null", "/x/.."), "container_path"), (DevicePlanTests.device(""), "container_path"),
    (DevicePlanTests.device("/dev/null", "/x", ""), "permissions"),
    (DevicePlanTests.device("/dev/null", "/x", "rx"), "permissions"),
    (DevicePlanTests.device("/dev/null", "/x", "rr"), "permissions"),
  ])
  func refusals(_ device: Runtime_V1_Device, _ field: String) {
    #expect {
      try DevicePlan([device], isPrivileged: false, hostDevices: HostDevices())
    } throws: { error in
      (error as? RuntimeError)?.code == .invalidArgument && "\(error)".contains("devices[0]")
        && "\(error)".contains(field)
    }
  }

  private static func node(_ change: (inout DeviceNode) -> Void) -> DeviceNode {
    var node = DeviceNode(path: "/dev/cdi", hostPath: "/dev/zero")
    change(&node)
    return node
  }

  /// What a specification leaves out is the node's; the owner the container's user.
  @Test func aDeviceOfCDI() throws {
    func plan(_ change: (inout DeviceNode) -> Void) throws -> DevicePlan {
      try DevicePlan(
        [], isPrivileged: false, hostDevices: HostDevices(), injected: [Self.node(change)],
        user: DevicePlan.Owner(uid: 5, gid: 6))
    }
    let found = try #require(try plan { _ in }.devices.last)
    #expect(found.path == "/dev/cdi" && found.type == "c" && found.major == 1 && found.minor == 5)
    #expect(found.mode == 0o666 && found.uid == 5 && found.gid == 6)
    let told = try plan {
      $0.hostPath = "/dev/none"
      $0.type = "b"
      $0.major = 250
      $0.minor = 7
      $0.fileMode = 0o4640
      $0.gid = 0
      $0.permissions = ""
    }
    let node = try #require(told.devices.last)
    #expect(node.type == "b" && node.major == 250 && node.minor == 7 && node.mode == 0o640 && node.gid == 0)
    #expect(told.allowed.map(\.access) == [""])
    let bad: [(DeviceNode) -> DeviceNode] = [
      {
        var node = $0; node.hostPath = "/dev/none"; return node
      },
      {
        var node = $0; node.type = "b"; return node
      },
      {
        var node = $0; node.type = "p"; return node
      },
    ]
    for change in bad {
      #expect {
        try DevicePlan(
          [], isPrivileged: false, hostDevices: HostDevices(), injected: [change(Self.node { _ in })])
      } throws: { "\($0)".contains("/dev/cdi") }
    }
  }
}

/// V7: one prefix of the container's own annotations names devices; nothing that an image or a pod says does.
@Suite struct RequestedDevicesTests {
  private static func names(_ change: (inout Runtime_V1_ContainerConfig) -> Void) throws -> [String] {
    var config = Runtime_V1_ContainerConfig()
    change(&config)
    return try RequestedDevices(config).names.map(\.name.description)
  }

  private static func field(_ name: String) -> Runtime_V1_CDIDevice {
    var device = Runtime_V1_CDIDevice()
    device.name = name
    return device
  }

  @Test func byFieldAndByAnnotation() throws {
    let names = try Self.names {
      $0.cdiDevices = [Self.field("v/c=2"), Self.field("v/c=1"), Self.field("v/c=2")]
      $0.annotations = ["cdi.k8s.io/b": "v/c=1,v/c=4", "cdi.k8s.io/a": "v/c=3"]
    }
    #expect(names == ["v/c=2", "v/c=1", "v/c=3", "v/c=4"])
  }

  @Test(arguments: [
    "cdi.k8s.io", "CDI.k8s.io/x", "cdi.k8s.io.x/y", "x.cdi.k8s.io/y", " cdi.k8s.io/x", "cdi.k8s.iox/y",
    "io.kubernetes.cri/cdi.k8s.io/x", "cdi.kubernetes.io/x",
  ])
  func otherAnnotationsAreNone(_ key: String) throws {
    #expect(try Self.names { $0.annotations = [key: "v/c=1"] } == [])
  }

  @Test func anImagesWordIsNotRead() throws {
    let names = try Self.names {
      $0.image.annotations = ["cdi.k8s.io/x": "v/c=1"]
      $0.labels = ["cdi.k8s.io/x": "v/c=1"]
      $0.mounts = [.init()]
      $0.mounts[0].image.annotations = ["cdi.k8s.io/x": "v/c=1"]
    }
    #expect(names == [])
  }

  @Test(arguments: ["", "v/c=1,", ",", "v/c=1, v/c=2", "nonsense"])
  func badAnnotationsAreNamed(_ value: String) {
    #expect {
      try Self.names { $0.annotations = ["cdi.k8s.io/plugin_0": value] }
    } throws: { "\($0)".contains("annotations[\"cdi.k8s.io/plugin_0\"]") }
  }
}
