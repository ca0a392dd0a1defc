import CRIProtocol
import RuntimeModel
import ShimProtocol
import Testing

@testable import CRIServer

@Suite struct MountPlanTests {
  private static let files = MountPlan.SandboxFiles(
    hosts: "/r/hosts", hostname: "/r/hostname", resolvConf: "/r/resolv.conf")

  private static func plan(_ mounts: [Runtime_V1_Mount], privileged: Bool = false) throws -> MountPlan {
    try MountPlan(
      requested: mounts, namespaces: NamespaceChoice(.init(), field: "options", isSandbox: false),
      isPrivileged: privileged, isUnifiedCgroup: false, readonlyRootfs: false, files: files,
      hostMounts: HostMounts(mountinfo: "1 0 8:1 / / rw shared:5 - ext4 /dev/a rw\n2 1 0:5 / /own rw - tmpfs t rw\n"))
  }

  private static func mount(
    _ container: String, _ host: String = "/data", _ change: (inout Runtime_V1_Mount) -> Void = { _ in }
  ) -> Runtime_V1_Mount {
    var mount = Runtime_V1_Mount()
    mount.containerPath = container
    mount.hostPath = host
    change(&mount)
    return mount
  }

  @Test func defaultsAreThereAndParentsComeFirst() throws {
    let destinations = try Self.plan([Self.mount("/a/b/c"), Self.mount("/a")]).mounts.map(\.destination)
    #expect(
      Set(["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/etc/hosts"]).isSubset(of: destinations))
    let parent = try #require(destinations.firstIndex(of: "/a"))
    let child = try #require(destinations.firstIndex(of: "/a/b/c"))
    #expect(parent < child)
  }

  @Test func aRequestedMountReplacesTheDefaultOfItsPlace() throws {
    let mounts = try Self.plan([Self.mount("/etc/hosts/", "/mine"), Self.mount("/dev")]).mounts
    #expect(mounts.filter { $0.destination == "/etc/hosts" }.map(\.source) == ["/mine"])
    #expect(!mounts.contains { $0.destination.hasPrefix("/dev/") })
  }

  @Test func cgroupV1IsNeverShown() throws {
    #expect(try !Self.plan([], privileged: true).mounts.contains { $0.destination.contains("cgroup") })
  }

  @Test func propagationNeedsASharedSource() throws {
    #expect(try Self.plan([Self.mount("/x") { $0.propagation = .propagationBidirectional }]).rootPropagation == .shared)
    for propagation in [Runtime_V1_MountPropagation.propagationBidirectional, .propagationHostToContainer] {
      #expect(throws: RuntimeError.self) {
        try Self.plan([Self.mount("/x", "/own/y") { $0.propagation = propagation }])
      }
    }
  }

  /// Each is refused, and the text names the field.
  @Test(arguments: [
    (MountPlanTests.mount(""), "container_path"), (MountPlanTests.mount("x"), "container_path"),
    (MountPlanTests.mount("/x", "rel"), "host_path"), (MountPlanTests.mount("/x", ""), "host_path"),
    (MountPlanTests.mount("/x") { $0.recursiveReadOnly = true }, "recursive_read_only"),
    (
      MountPlanTests.mount("/x") {
        $0.recursiveReadOnly = true
        $0.readonly = true
        $0.propagation = .propagationHostToContainer
      }, "recursive_read_only"
    ),
    (MountPlanTests.mount("/x") { $0.mountOptions = ["suid"] }, "mount_options"),
    (MountPlanTests.mount("/x") { $0.image.image = "busybox" }, "image"),
  ])
  func refusals(_ mount: Runtime_V1_Mount, _ field: String) {
    #expect {
      try Self.plan([mount])
    } throws: { error in
      "\(error)".contains("mounts[0]") && "\(error)".contains(field)
    }
  }

  @Test(arguments: [("/a//b/", "/a/b"), ("/a/../../b", "/b"), ("/./a", "/a"), ("/", "/")])
  func cleaning(_ path: String, _ clean: String) {
    #expect(MountPlan.cleaned(path) == clean)
  }
}
