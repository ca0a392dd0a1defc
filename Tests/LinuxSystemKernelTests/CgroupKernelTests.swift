import Glibc
import SystemPackage
import Testing

@testable import LinuxSystem

@Suite(.enabled(if: kernelTestsAreAskedFor, kernelTestsReason), .serialized)
struct CgroupKernelTests {
  private func read(_ cgroup: Cgroup, _ controller: String, _ file: String) throws -> String {
    let path = "\(try #require(cgroup.directory(of: controller)))/\(file)"
    return String(String(decoding: try readSmallFile(path, limit: 4096), as: UTF8.self).dropLast())
  }

  @Test func `a process is born in every hierarchy, killed and gone`() throws {
    let scratch = try ScratchCgroup()
    let leaf = try scratch.cgroup.leaf("c")
    let (status, output) = try run("cat /proc/self/cgroup", in: leaf)
    #expect(status == .exited(code: 0))
    let inside = output.split(separator: "\n").filter { $0.hasSuffix(":" + leaf.path) }.count
    #expect(inside == leaf.joinDirectories.count + (leaf.unifiedDirectory == nil ? 0 : 1), "\(output)")
    let sleeper = try start("sleep 100 & sleep 100 & wait", in: leaf)
    #expect(try leaf.processes().contains(sleeper.pid))
    #expect(try scratch.cgroup.processes().contains(sleeper.pid))
    try leaf.kill()
    #expect(try waitForEnd(sleeper) == .killed(signal: SIGKILL))
    try leaf.remove()
    #expect(!leaf.exists)
    for directory in leaf.joinDirectories { #expect(access(directory, F_OK) != 0, "\(directory)") }
    try leaf.remove()
    try leaf.kill()
  }

  @Test func `limits are in force, and change in both directions`() throws {
    let scratch = try ScratchCgroup()
    guard scratch.cgroup.hierarchy.kind != .unified else { return }
    var parent = Cgroup.Limits()
    parent.cpuPeriod = 100_000
    parent.cpuQuota = 50_000
    try scratch.cgroup.apply(parent)
    let leaf = try scratch.cgroup.leaf("c")
    for (period, quota, shares, memory, both, pids) in [
      (100_000, 50_000, 1024, 64 << 20, 0, 10), (10_000, 5_000, 2, 32 << 20, 32 << 20, 5),
      (1_000_000, 500_000, 2048, 256 << 20, 300 << 20, 100), (100_000, -1, 512, -1, -1, -1),
      (50_000, 1_000, 100, 16 << 20, 16 << 20, 7),
    ] as [(Int64, Int64, Int64, Int64, Int64, Int64)] {
      var limits = Cgroup.Limits()
      limits.cpuPeriod = period
      limits.cpuQuota = quota
      limits.cpuShares = shares
      limits.memoryLimit = memory
      limits.memorySwapLimit = both
      limits.pidsLimit = pids
      try leaf.apply(limits)
      #expect(try read(leaf, "cpu", "cpu.cfs_period_us") == "\(period)")
      #expect(try read(leaf, "cpu", "cpu.cfs_quota_us") == "\(quota)")
      #expect(try read(leaf, "cpu", "cpu.shares") == "\(shares)")
      #expect(try read(leaf, "pids", "pids.max") == (pids < 0 ? "max" : "\(pids)"))
      let most = "9223372036854771712"
      #expect(try read(leaf, "memory", "memory.limit_in_bytes") == (memory < 0 ? most : "\(memory)"))
      let swap = both == 0 ? memory : both
      #expect(try read(leaf, "memory", "memory.memsw.limit_in_bytes") == (swap < 0 ? most : "\(swap)"))
    }
    var beyond = Cgroup.Limits()
    beyond.cpuQuota = 90_000
    beyond.cpuPeriod = 100_000
    #expect(errno { try leaf.apply(beyond) } == EINVAL)
  }

  @Test func `a cpuset is inherited, set, and refused where it is not there`() throws {
    let scratch = try ScratchCgroup()
    let leaf = try scratch.cgroup.leaf("c")
    #expect(try !read(leaf, "cpuset", "cpuset.mems").isEmpty)
    var limits = Cgroup.Limits()
    limits.cpusetCpus = "0"
    limits.cpusetMems = "0"
    try leaf.apply(limits)
    #expect(try run("grep Cpus_allowed_list /proc/self/status", in: leaf).output == "Cpus_allowed_list:\t0\n")
    limits.cpusetCpus = "1000"
    #expect(errno { try leaf.apply(limits) } != nil)
  }

  @Test func `no more processes than allowed`() throws {
    let scratch = try ScratchCgroup()
    var limits = Cgroup.Limits()
    limits.pidsLimit = 3
    try scratch.cgroup.apply(limits)
    let (status, output) = try run("sleep 0 & sleep 0 & sleep 0 & sleep 0 & sleep 0 & wait", in: scratch.cgroup)
    #expect(status != .exited(code: 0), "\(output)")
  }

  @Test func `only the devices of the list open`() throws {
    let scratch = try ScratchCgroup()
    let narrow = try scratch.cgroup.leaf("narrow")
    try narrow.applyDeviceRules(DeviceRule.defaults, privileged: false)
    let script = "head -c 1 /dev/zero > /dev/null && echo zero; : < /dev/kmsg && echo kmsg"
    #expect(try run(script, in: narrow).output.split(separator: "\n").first?.hasPrefix("\0") != true)
    #expect(try run(script, in: narrow).output.hasPrefix("zero\n"))
    #expect(try !run(script, in: narrow).output.contains("\nkmsg"))
    let wide = try scratch.cgroup.leaf("wide")
    try wide.applyDeviceRules([], privileged: true)
    #expect(try run(script, in: wide).output == "zero\nkmsg\n")
    let one = try scratch.cgroup.leaf("one")
    let kmsg = DeviceRule(kind: .character, major: 1, minor: 11, access: [.read])
    try one.applyDeviceRules(DeviceRule.defaults + [kmsg], privileged: false)
    #expect(try run(script, in: one).output == "zero\nkmsg\n")
  }

  @Test func `the v2 program is in force, and another takes its place`() throws {
    let scratch = try ScratchCgroup()
    let directory = try #require(scratch.cgroup.unifiedDirectory)
    let script = "head -c 1 /dev/zero > /dev/null && echo zero; : < /dev/kmsg && echo kmsg"
    try scratch.cgroup.attachDeviceFilter(DeviceRule.defaults, to: directory)
    #expect(try !run(script, in: scratch.cgroup).output.contains("\nkmsg"))
    let kmsg = DeviceRule(kind: .character, major: 1, minor: 11, access: [.read])
    try scratch.cgroup.attachDeviceFilter(DeviceRule.defaults + [kmsg], to: directory)
    #expect(try run(script, in: scratch.cgroup).output == "zero\nkmsg\n")
    try scratch.cgroup.attachDeviceFilter([kmsg], to: directory)
    #expect(try !run("exec 2>&-; : > /dev/zero && echo zero", in: scratch.cgroup).output.contains("zero\n"))
  }

  @Test func `a group that forks as fast as it can is killed, with and without cgroup.kill`() throws {
    let mounted = try Cgroup.mounted()
    var hierarchies = [mounted]
    if mounted.kind == .hybrid {
      hierarchies.append(CgroupHierarchy(controllers: mounted.controllers, unifiedRoot: nil))
    }
    for hierarchy in hierarchies {
      let scratch = try ScratchCgroup(hierarchy)
      let script = "for i in 1 2 3 4 5 6 7 8; do (while :; do /bin/true; done) & done; echo all; wait"
      var ends: [Int32] = [0, 0]
      #expect(pipe(&ends) == 0)
      let bomb = try start(script, in: scratch.cgroup, output: ends[1])
      var byte: UInt8 = 0
      #expect(Glibc.read(ends[0], &byte, 1) == 1)
      for end in ends { close(end) }
      try scratch.cgroup.kill(deadline: .seconds(60))
      #expect(try waitForEnd(bomb) != nil)
      // Orphans are the machine's first process's to reap.
      try scratch.cgroup.remove(deadline: .seconds(60))
      #expect(try scratch.cgroup.processes().isEmpty)
    }
  }

  /// The first pods below a new parent come at the same moment; on v1 a group with an empty cpuset takes no process.
  @Test func `groups made side by side below a new one have processors and memory`() async throws {
    try requireRoot()
    let hierarchy = try Cgroup.mounted()
    guard hierarchy.controllers["cpuset"] != nil else { return }
    let pool = BlockingPool(threads: 8)
    for round in 0..<25 {
      let parent = "/swiftlet-test-\(getpid())-race-\(round)"
      defer { try? hierarchy.cgroup(at: parent).remove() }
      try await withThrowingTaskGroup(of: Cgroup.self) { group in
        for index in 0..<8 {
          group.addTask { try await pool.run { try hierarchy.create(path: "\(parent)/\(index)") } }
        }
        for try await made in group {
          let mems = try read(made, "cpuset", "cpuset.mems")
          #expect(!mems.isEmpty)
        }
      }
    }
  }

  @Test func `a busy group is not removed, a group with groups in it is`() throws {
    let scratch = try ScratchCgroup()
    let sleeper = try start("exec sleep 100", in: scratch.cgroup)
    #expect(errno { try scratch.cgroup.remove(deadline: .milliseconds(20)) } == EBUSY)
    try sleeper.pidfd.send(signal: SIGKILL)
    _ = try waitForEnd(sleeper)
    _ = try scratch.cgroup.leaf("a").leaf("b").leaf("c")
    try scratch.cgroup.remove()
    #expect(!scratch.cgroup.exists)
  }

  @Test func `what a container costs`() throws {
    let scratch = try ScratchCgroup()
    var (making, limiting, devices, removing) = ([Duration](), [Duration](), [Duration](), [Duration]())
    var (spawning, starting, outside) = ([Duration](), [Duration](), [Duration]())
    var limits = Cgroup.Limits()
    limits.cpuShares = 102
    limits.cpuPeriod = 100_000
    limits.cpuQuota = 20_000
    limits.memoryLimit = 64 << 20
    limits.pidsLimit = 100
    let clock = ContinuousClock()
    for index in 0..<40 {
      var leaf = scratch.cgroup
      making.append(try clock.measure { leaf = try scratch.cgroup.leaf("c\(index)") })
      limiting.append(try clock.measure { try leaf.apply(limits) })
      devices.append(try clock.measure { try leaf.applyDeviceRules(DeviceRule.defaults, privileged: false) })
      starting.append(
        try clock.measure {
          let begun = clock.now
          let process = try start("exit 0", in: leaf)
          spawning.append(clock.now - begun)
          _ = try waitForEnd(process)
        })
      outside.append(try clock.measure { _ = try waitForEnd(try start("exit 0", in: nil)) })
      removing.append(try clock.measure { try leaf.remove() })
    }
    func p50(_ times: [Duration]) -> Duration { times.sorted()[times.count / 2] }
    print(
      "cgroup: make \(p50(making)), limits \(p50(limiting)), devices \(p50(devices)),",
      "spawn into it \(p50(spawning)), with its end \(p50(starting)), the same outside \(p50(outside)),",
      "remove \(p50(removing))")
    #expect(p50(starting) < .milliseconds(50))
  }
}
