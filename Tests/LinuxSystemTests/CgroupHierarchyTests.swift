import Glibc
import RuntimeModel
import Testing

@testable import LinuxSystem

struct CgroupHierarchyTests {
  private static let hybrid = """
    31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
    34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
    35 31 0:32 / /sys/fs/cgroup/mem\\040ory rw,relatime - cgroup cgroup rw,memory
    36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
    37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
    39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
    40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
    """

  @Test func `a hybrid node`() throws {
    let hierarchy = try CgroupHierarchy(mountinfo: Self.hybrid)
    #expect(hierarchy.kind == .hybrid)
    let cgroup = hierarchy.cgroup(at: "/a/b")
    #expect(
      cgroup.joinDirectories == [
        "/sys/fs/cgroup/mem ory/a/b", "/sys/fs/cgroup/cpu,cpuacct/a/b", "/sys/fs/cgroup/cpuset/a/b",
        "/sys/fs/cgroup/pids/a/b", "/sys/fs/cgroup/devices/a/b",
      ])
    #expect(cgroup.unifiedDirectory == "/sys/fs/cgroup/unified/a/b")
    #expect(cgroup.memoryEventsPath == "/sys/fs/cgroup/mem ory/a/b/memory.oom_control")
  }

  @Test func `a node with v1 alone keeps the freezer`() throws {
    let lines = Self.hybrid.split(separator: "\n").filter { !$0.contains("cgroup2") }.joined(separator: "\n")
    let hierarchy = try CgroupHierarchy(mountinfo: lines)
    #expect(hierarchy.kind == .v1)
    #expect(hierarchy.cgroup(at: "/a").joinDirectories.contains("/sys/fs/cgroup/freezer/a"))
    #expect(hierarchy.cgroup(at: "/a").unifiedDirectory == nil)
  }

  @Test func `a node with v2 alone, and one with nothing`() throws {
    let line = "25 30 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
    let cgroup = try CgroupHierarchy(mountinfo: line).cgroup(at: "/a")
    #expect(cgroup.hierarchy.kind == .unified)
    #expect(cgroup.joinDirectories.isEmpty)
    #expect(cgroup.memoryEventsPath == "/sys/fs/cgroup/a/memory.events")
    #expect(errno { _ = try CgroupHierarchy(mountinfo: "1 1 0:1 / / rw - ext4 /dev/x rw") } == ENODEV)
  }

  @Test func `v2 controllers are switched on above a group, and none off`() throws {
    let scratch = try ScratchDirectory()
    try scratch.write("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n")
    try scratch.write("cgroup.subtree_control", "cpu io memory hugetlb pids\n")
    let hierarchy = CgroupHierarchy(controllers: [:], unifiedRoot: scratch.path)
    let cgroup = try hierarchy.create(path: "/swiftlet/x")
    #expect(try scratch.read("cgroup.subtree_control").hasPrefix("+cpuset"))
    #expect(access("\(scratch.path)/swiftlet/x", F_OK) == 0)
    // The group has processes by then: with controllers for its leaf it would be a threaded tree's root.
    try scratch.write("swiftlet/x/cgroup.controllers", "cpuset cpu pids\n")
    try scratch.write("swiftlet/x/cgroup.subtree_control", "\n")
    #expect(try cgroup.leaf("y").path == "/swiftlet/x/y")
    #expect(try scratch.read("swiftlet/x/cgroup.subtree_control") == "\n")
    for name in ["controllers", "subtree_control"] { unlink("\(scratch.path)/swiftlet/x/cgroup.\(name)") }
    #expect(cgroup.exists)
    try cgroup.remove()
    #expect(!cgroup.exists)
    #expect(access("\(scratch.path)/swiftlet", F_OK) == 0)
    try cgroup.remove()
    #expect(try cgroup.processes().isEmpty)
  }

  @Test(arguments: [
    "/a/../../x", "../x", "a;b", "/a;b", "", "/", "//", "/a//b", "/a/./b", "/a b", "/a\nb",
    "/" + String(repeating: "x", count: 5000), String(repeating: "/x", count: 33), "/\0",
  ])
  func `a parent that is no plain path is refused`(path: String) {
    #expect(throws: RuntimeError.self) { try CgroupHierarchy.checkedPath(path) }
    let hierarchy = CgroupHierarchy(controllers: [:], unifiedRoot: "/nonexistent")
    #expect(errno { _ = try hierarchy.create(path: path) } == EINVAL)
  }

  @Test func `kubelet's parents are taken`() throws {
    let path = "/kubepods/burstable/pod1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    #expect(try CgroupHierarchy.checkedPath(path) == path)
    #expect(try CgroupHierarchy.checkedPath(path + "/") == path)
    #expect(try CgroupHierarchy.checkedPath("/kubepods.slice/x-y_z@1:2") == "/kubepods.slice/x-y_z@1:2")
  }
}
