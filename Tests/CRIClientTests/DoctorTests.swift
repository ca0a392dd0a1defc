import Testing

@testable import CRIClient

@Suite struct DoctorTests {
  private static func node(
    _ files: [String: String] = [:], missingCalls: Set<Int> = [], release: String = "6.18.1",
    space: NodeFacts.FileSystemSpace? = nil
  ) -> NodeFacts {
    NodeFacts(
      read: { files[$0] }, hasSystemCall: { !missingCalls.contains($0) }, space: { _ in space }, kernelRelease: release,
      userID: 0)
  }

  @Test func kernels() {
    #expect(NodeChecks.kernel(Self.node()).verdict == .ok)
    #expect(NodeChecks.kernel(Self.node(release: "5.10.0")).verdict == .warn)
    let old = NodeChecks.kernel(Self.node(missingCalls: [SystemCallProbe.openat2]))
    #expect(old.verdict == .fail && old.reason.contains("openat2") && old.remedy != nil)
  }

  @Test(arguments: [
    (
      "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "cpu memory pids", "v2 on /sys/fs/cgroup",
      Finding.Verdict.ok
    ),
    ("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "cpu pids", "v2 on /sys/fs/cgroup, without memory", .fail),
    (
      "1 1 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n1 1 0:2 / /c rw - cgroup cgroup rw,cpu,cpuacct\n"
        + "1 1 0:3 / /p rw - cgroup cgroup rw,pids\n1 1 0:4 / /d rw shared:1 - cgroup cgroup rw,devices\n"
        + "1 1 0:5 / /u rw - cgroup2 cgroup2 rw", "", "v1 with a v2 tree beside it (hybrid)", .ok
    ),
    ("1 1 0:1 / / rw - ext4 /dev/vda rw", "", "no cgroup tree is mounted", .fail),
  ])
  func cgroups(mounts: String, controllers: String, reason: String, verdict: Finding.Verdict) {
    let finding = NodeChecks.cgroups(
      Self.node(["/proc/self/mountinfo": mounts, "/sys/fs/cgroup/cgroup.controllers": controllers]))
    #expect(finding.reason == reason)
    #expect(finding.verdict == verdict)
  }

  @Test func settings() {
    #expect(NodeChecks.overlay(Self.node(["/proc/filesystems": "nodev\toverlay\n\text4\n"])).verdict == .ok)
    #expect(NodeChecks.overlay(Self.node()).verdict == .warn)
    #expect(NodeChecks.seccomp(Self.node()).verdict == .fail)
    #expect(NodeChecks.bridgeNetfilter(Self.node()).verdict == .ok)
    let filtered = NodeChecks.bridgeNetfilter(Self.node(["/proc/sys/net/bridge/bridge-nf-call-ip6tables": "1\n"]))
    #expect(filtered.remedy?.contains("net.bridge.bridge-nf-call-ip6tables=0") ?? false)
    let half = NodeChecks.forwarding(Self.node(["/proc/sys/net/ipv4/ip_forward": "1\n"]))
    #expect(half.verdict == .warn && half.reason.hasPrefix("off for IPv6:"))
    #expect(half.remedy?.contains("net.ipv6.conf.all.forwarding=1") ?? false)
  }

  @Test(
    arguments: [
      (500_000_000, 100_000_000_000, 10, 10, Finding.Verdict.fail), (5_000_000_000, 100_000_000_000, 10, 10, .warn),
      (50_000_000_000, 100_000_000_000, 1, 100, .warn), (50_000_000_000, 100_000_000_000, 50, 100, .ok),
      (50_000_000_000, 100_000_000_000, 0, 0, .ok),
    ] as [(UInt64, UInt64, UInt64, UInt64, Finding.Verdict)])
  func space(free: UInt64, total: UInt64, inodes: UInt64, allInodes: UInt64, verdict: Finding.Verdict) {
    let space = NodeFacts.FileSystemSpace(
      freeBytes: free, totalBytes: total, freeInodes: inodes, totalInodes: allInodes)
    #expect(NodeChecks.space(Self.node(space: space), "/x").verdict == verdict)
  }

  /// This kernel has what the shim was built on, and has not what nobody has.
  @Test func systemCallsAreProbed() {
    #expect(SystemCallProbe.has(SystemCallProbe.openat2))
    #expect(SystemCallProbe.has(SystemCallProbe.closeRange))
    #expect(SystemCallProbe.has(SystemCallProbe.clone3))
    #expect(!SystemCallProbe.has(4000))
  }

  @Test func findingsAsLines() {
    let lines = Doctor.lines(
      [Finding("a", .ok, "fine"), Finding("long", .fail, "broken", remedy: "mend it")], paint: { text, _ in text })
    #expect(lines == ["ok    a     fine", "fail  long  broken", "            try: mend it"])
  }
}
