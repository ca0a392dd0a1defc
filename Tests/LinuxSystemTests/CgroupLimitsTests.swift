import Glibc
import RuntimeModel
import Testing

@testable import LinuxSystem

/// cgroup files on an ordinary file system: what is written where, in which order it cannot tell.
struct CgroupLimitsTests {
  let scratch: ScratchDirectory

  init() throws { scratch = try ScratchDirectory() }

  /// A v2 tree with the group /pod/c and its files.
  private func unified(_ files: [String]) throws -> Cgroup {
    for directory in ["pod", "pod/c"] { mkdir("\(scratch.path)/\(directory)", 0o755) }
    for file in files { try scratch.write("pod/c/\(file)") }
    return CgroupHierarchy(controllers: [:], unifiedRoot: scratch.path).cgroup(at: "/pod/c")
  }

  @Test(arguments: [
    (2, 1), (3, 2), (10, 4), (102, 17), (512, 59), (1024, 100), (2048, 174), (10240, 639), (262_144, 10_000), (1, 1),
    (1_000_000, 10_000),
  ])
  func `shares become weight`(shares: Int64, weight: Int64) {
    #expect(Cgroup.weight(shares: shares) == weight)
  }

  @Test func `v2 gets its own words`() throws {
    let cgroup = try unified([
      "cpu.weight", "cpu.max", "memory.max", "memory.swap.max", "pids.max", "cpuset.cpus",
      "cpuset.mems", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "memory.oom.group",
    ])
    var limits = Cgroup.Limits()
    limits.cpuShares = 1024
    limits.cpuPeriod = 50_000
    limits.cpuQuota = 25_000
    limits.memoryLimit = 1000
    limits.memorySwapLimit = 1500
    limits.pidsLimit = 7
    limits.cpusetCpus = "0-1"
    limits.cpusetMems = "0"
    limits.hugepages = [(size: "2MB", limit: 0), (size: "1GB", limit: 0)]
    limits.unified = ["memory.oom.group": "1"]
    #expect(try cgroup.apply(limits).isEmpty)
    let wanted = [
      "cpu.weight": "100", "cpu.max": "25000 50000", "memory.max": "1000", "memory.swap.max": "500", "pids.max": "7",
      "cpuset.cpus": "0-1", "cpuset.mems": "0", "hugetlb.2MB.max": "0", "hugetlb.2MB.rsvd.max": "0",
      "memory.oom.group": "1",
    ]
    for (file, value) in wanted { #expect(try scratch.read("pod/c/\(file)") == value, "\(file)") }
  }

  @Test(
    arguments: [
      (1000, 0, "1000", "0"), (1000, 1000, "1000", "0"), (1000, -1, "1000", "max"), (-1, 0, "max", "max"),
      (1000, 4000, "1000", "3000"),
    ] as [(Int64, Int64, String, String)])
  func `v2 swap is what goes beyond memory`(memory: Int64, both: Int64, wanted: String, swap: String) throws {
    let cgroup = try unified(["memory.max", "memory.swap.max"])
    var limits = Cgroup.Limits()
    limits.memoryLimit = memory
    limits.memorySwapLimit = both
    try cgroup.apply(limits)
    #expect(try scratch.read("pod/c/memory.max") == wanted)
    #expect(try scratch.read("pod/c/memory.swap.max") == swap)
  }

  @Test func `v2 without swap accounting is an error only where swap was asked for`() throws {
    let cgroup = try unified(["memory.max"])
    var limits = Cgroup.Limits()
    limits.memoryLimit = 1000
    try cgroup.apply(limits)
    limits.memorySwapLimit = 2000
    #expect(errno { try cgroup.apply(limits) } == ENOENT)
  }

  @Test func `v2 bandwidth with one of the two`() throws {
    let cgroup = try unified(["cpu.max"])
    var limits = Cgroup.Limits()
    limits.cpuQuota = -1
    try cgroup.apply(limits)
    #expect(try scratch.read("pod/c/cpu.max") == "max 100000")
    try scratch.write("pod/c/cpu.max", "5000 100000\n")
    limits = Cgroup.Limits()
    limits.cpuPeriod = 20_000
    try cgroup.apply(limits)
    #expect(try scratch.read("pod/c/cpu.max").hasPrefix("5000 20000"))
  }

  @Test func `a limit without its controller fails, an unknown v2 file too`() throws {
    let cgroup = try unified([])
    var limits = Cgroup.Limits()
    limits.pidsLimit = 5
    #expect(errno { try cgroup.apply(limits) } == ENOENT)
    limits = Cgroup.Limits()
    limits.unified = ["memory.nothing": "1"]
    #expect(errno { try cgroup.apply(limits) } == ENOENT)
    let legacy = CgroupHierarchy(controllers: ["cpu": scratch.path], unifiedRoot: nil).cgroup(at: "/pod/c")
    limits = Cgroup.Limits()
    limits.memoryLimit = 5
    #expect(errno { try legacy.apply(limits) } == ENOTSUP)
  }

  @Test func `what no kernel takes is said before`() {
    func message(_ change: (inout Cgroup.Limits) -> Void) -> String? {
      var limits = Cgroup.Limits()
      change(&limits)
      do {
        try limits.check()
        return nil
      } catch {
        return error.message
      }
    }
    #expect(message { $0.memorySwapLimit = 5 }?.contains("without memory_limit_in_bytes") == true)
    #expect(message { ($0.memoryLimit, $0.memorySwapLimit) = (10, 5) }?.contains("is below") == true)
    #expect(message { ($0.memoryLimit, $0.memorySwapLimit) = (10, -1) } == nil)
    #expect(message { $0.cpuPeriod = 999 }?.contains("cpu_period 999") == true)
    #expect(message { $0.cpuQuota = -2 }?.contains("cpu_quota") == true)
    #expect(message { $0.cpusetCpus = "0;1" }?.contains("cpuset_cpus") == true)
    #expect(message { $0.unified = ["../x": "1"] }?.contains("unified") == true)
    #expect(message { $0.unified = ["cgroup.procs": "1"] }?.contains("unified") == true)
    #expect(message { $0.hugepages = [(size: "2MB/..", limit: 1)] }?.contains("page_size") == true)
  }
}
