import CDI
import CRIProtocol
import LinuxSystem
import RuntimeModel
import ShimProtocol
import Testing

@testable import CRIServer

@Suite struct MountPlanTests {
  private static let files = MountPlan.SandboxFiles(
    hosts: "/r/hosts", hostname: "/r/hostname", resolvConf: "/r/resolv.conf")

  private static let hybrid = CgroupHierarchy(
    controllers: [
      "cpu": "/cg/cpu,cpuacct", "cpuacct": "/cg/cpu,cpuacct", "memory": "/cg/memory", "blkio": "/cg/blkio",
    ],
    unifiedRoot: "/cg/unified")

  private static func plan(
    _ mounts: [Runtime_V1_Mount], privileged: Bool = false, cgroups: CgroupHierarchy = hybrid,
    extras: MountPlan.Extras = .init()
  ) throws -> MountPlan {
    try MountPlan(
      requested: mounts, namespaces: NamespaceChoice(.init(), field: "options", isSandbox: false),
      isPrivileged: privileged, cgroup: cgroups.cgroup(at: "/p/c"), readonlyRootfs: false, files: files,
      hostMounts: HostMounts(mountinfo: "1 0 8:1 / / rw shared:5 - ext4 /dev/a rw\n2 1 0:5 / /own rw - tmpfs t rw\n"),
      extras: extras)
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

  private static func image(_ change: (inout Runtime_V1_Mount) -> Void = { _ in }) -> Runtime_V1_Mount {
    mount("/x", "") {
      $0.image.image = "busybox"
      $0.readonly = true
      change(&$0)
    }
  }

  @Test func anImageIsReadOnlyAndMayRun() throws {
    var extras = MountPlan.Extras()
    extras.images[0] = ImageVolume(imageID: "sha256:1", layers: ["/l/1", "/l/0"])
    let plan = try Self.plan([Self.image { $0.imageSubPath = "etc" }], extras: extras)
    let mount = try #require(plan.mounts.first { $0.destination == "/x" })
    #expect(mount.type == "image" && mount.layers == ["/l/1", "/l/0"] && mount.subPath == "etc")
    #expect(mount.readonly && mount.nodev && !mount.noexec && !mount.nosuid && mount.source.isEmpty)
  }

  @Test func labelsAreRefusedWhereTheyWouldCount() throws {
    let mounts = [Self.mount("/x"), Self.mount("/y") { $0.selinuxRelabel = true }]
    try MountPlan.checkLabels(mounts, hasSELinux: false)
    try MountPlan.checkLabels([mounts[0]], hasSELinux: true)
    #expect { try MountPlan.checkLabels(mounts, hasSELinux: true) } throws: { error in
      (error as? RuntimeError)?.code == .unimplemented && "\(error)".contains("mounts[1].selinux_relabel")
    }
  }

  @Test func filesThatLxcfsReplacesAreTaken() throws {
    #expect(try Self.plan([Self.mount("/proc/meminfo")]).mounts.contains { $0.destination == "/proc/meminfo" })
  }

  /// An image's volumes come first, but for those below a mount of the request, and take nobody's place.
  @Test func volumesOfTheImage() throws {
    let requested = [Self.mount("/data"), Self.mount("/var/lib/x/")]
    let declared = try DeclaredVolumes(
      [
        "/proc", "/proc/acpi", "/sys/fs/cgroup", "/dev/shm", "/", "//", "/etc/hosts", "data", "/var/lib/x", "/v", "/v/",
        "/data/sub", "/a/../w", "/var/run/deep",
      ], requested: requested, image: "i")
    #expect(declared.paths == ["/v", "/data/sub", "/w", "/var/run/deep"])
    var extras = MountPlan.Extras()
    extras.volumes = declared.paths
    extras.volumeDirectories = ["/s/0", "/s/1", "/s/2", "/s/3"]
    let mounts = try Self.plan(requested, extras: extras).mounts
    #expect(mounts.prefix(3).map(\.destination) == ["/v", "/w", "/var/run/deep"])
    #expect(mounts.prefix(3).map(\.source) == ["/s/0", "/s/2", "/s/3"])
    let parent = try #require(mounts.firstIndex { $0.destination == "/data" })
    let child = try #require(mounts.firstIndex { $0.destination == "/data/sub" })
    #expect(parent < child && mounts[child].source == "/s/1" && !mounts[child].readonly)
    #expect(throws: RuntimeError.self) {
      try DeclaredVolumes((0...256).map { "/v\($0)" }, requested: [], image: "i")
    }
  }

  @Test func aDevicesMountTakesThePlaceOfAnother() throws {
    var extras = MountPlan.Extras()
    extras.injected = [
      EditMount(hostPath: "/lib/x", containerPath: "/data/x", options: ["ro", "nosuid", "rbind", "rslave"]),
      EditMount(hostPath: "none", containerPath: "/scratch", options: ["size=4k"], type: "tmpfs"),
    ]
    let plan = try Self.plan([Self.mount("/data/x"), Self.mount("/data")], extras: extras)
    #expect(plan.mounts.filter { $0.destination == "/data/x" }.map(\.source) == ["/lib/x"])
    #expect(plan.rootPropagation == .slave)
    let mount = try #require(plan.mounts.first { $0.destination == "/data/x" })
    #expect(mount.readonly && mount.nosuid && mount.recursive && !mount.createSource)
    #expect(plan.mounts.first { $0.type == "tmpfs" && $0.destination == "/scratch" }?.data == ["size=4k"])
  }

  @Test(arguments: [
    (EditMount(hostPath: "/x", containerPath: "/y", options: ["sync"]), "sync"),
    (EditMount(hostPath: "/x", containerPath: "/y", options: ["size=1"]), "size=1"),
    (EditMount(hostPath: "/x", containerPath: "/y", type: "overlay"), "overlay"),
    (EditMount(hostPath: "x", containerPath: "/y"), "absolute"),
    (EditMount(hostPath: "/x", containerPath: "/proc/1"), "/proc"),
  ])
  func mountsThatADeviceCannotBring(_ edit: EditMount, _ word: String) {
    var extras = MountPlan.Extras()
    extras.injected = [edit]
    #expect { try Self.plan([], extras: extras) } throws: { "\($0)".contains(word) }
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

  private static func groups(
    privileged: Bool, _ mounts: [Runtime_V1_Mount] = [], cgroups: CgroupHierarchy
  ) throws -> [String] {
    try plan(mounts, privileged: privileged, cgroups: cgroups).mounts.filter {
      $0.destination.hasPrefix("/sys/fs/cgroup")
    }
    .map { "\($0.type) \($0.source) \($0.destination.dropFirst(14)) \($0.readonly ? "ro" : "rw")" }
  }

  @Test func groupsThatAreShown() throws {
    let unified = CgroupHierarchy(controllers: [:], unifiedRoot: "/cg")
    #expect(try Self.groups(privileged: false, cgroups: Self.hybrid).isEmpty)
    #expect(try Self.groups(privileged: false, cgroups: unified) == ["cgroup2   ro"])
    #expect(try Self.groups(privileged: true, cgroups: unified) == ["bind /cg  rw"])
    #expect(
      try Self.groups(privileged: true, cgroups: Self.hybrid) == [
        "tmpfs   rw", "bind /cg/cpu,cpuacct/p/c /cpu rw", "bind /cg/cpu,cpuacct/p/c /cpu,cpuacct rw",
        "bind /cg/cpu,cpuacct/p/c /cpuacct rw", "bind /cg/memory/p/c /memory rw", "bind /cg/unified/p/c /unified rw",
      ])
    #expect(try Self.groups(privileged: false, [Self.mount("/sys", "/s")], cgroups: unified).isEmpty)
    let whole = Self.mount("/sys/fs/cgroup", "/cg")
    #expect(try Self.groups(privileged: true, [whole], cgroups: Self.hybrid) == ["bind /cg  rw"])
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
    (MountPlanTests.mount("/x") { $0.imageSubPath = "etc" }, "image_sub_path"),
    (MountPlanTests.mount("/"), "container_path"),
    (MountPlanTests.mount("/proc/self/attr"), "container_path"),
    (MountPlanTests.mount("/x/../proc/"), "container_path"),
    (MountPlanTests.mount("/x\0y"), "container_path"), (MountPlanTests.mount("/x", "/a\0b"), "host_path"),
    (MountPlanTests.image { $0.hostPath = "/data" }, "host_path"),
    (MountPlanTests.image { $0.readonly = false }, "readonly"),
    (MountPlanTests.image { $0.image.image = "" }, "image.image"),
    (MountPlanTests.image { $0.imageSubPath = "a/../../b" }, "image_sub_path"),
    (MountPlanTests.image { $0.imageSubPath = "/etc" }, "image_sub_path"),
    (MountPlanTests.image { $0.propagation = .propagationHostToContainer }, "propagation"),
    (MountPlanTests.image { $0.mountOptions = ["ro"] }, "mount_options"),
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
