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

  /// Sets one or more fields.
  typealias Change = @Sendable (inout Cgroup.Limits) -> Void

  /// What is refused, by the field that the text begins with.
  static let refused: [(field: String, change: Change)] = [
    ("memory_swap_limit_in_bytes", { $0.memorySwapLimit = 5 }),
    ("memory_swap_limit_in_bytes", { ($0.memoryLimit, $0.memorySwapLimit) = (10, 5) }),
    ("memory_swap_limit_in_bytes", { ($0.memoryLimit, $0.memorySwapLimit) = (-1, 5) }),
    ("memory_swap_limit_in_bytes", { ($0.memoryLimit, $0.memorySwapLimit) = (10, -2) }),
    ("memory_limit_in_bytes", { $0.memoryLimit = -2 }), ("memory_limit_in_bytes", { $0.memoryLimit = .min }),
    ("cpu_period", { $0.cpuPeriod = 999 }), ("cpu_period", { $0.cpuPeriod = 1_000_001 }),
    ("cpu_period", { $0.cpuPeriod = -1 }), ("cpu_quota", { $0.cpuQuota = -2 }), ("cpu_quota", { $0.cpuQuota = 999 }),
    ("cpu_quota", { $0.cpuQuota = 1 << 44 }), ("cpu_shares", { $0.cpuShares = -1 }),
    ("cpu_shares", { $0.cpuShares = 262_145 }), ("pids_limit", { $0.pidsLimit = -2 }),
    ("cpuset_cpus", { $0.cpusetCpus = "0;1" }), ("cpuset_cpus", { $0.cpusetCpus = "0-" }),
    ("cpuset_cpus", { $0.cpusetCpus = "1-0" }), ("cpuset_cpus", { $0.cpusetCpus = "0,,1" }),
    ("cpuset_cpus", { $0.cpusetCpus = "+1" }), ("cpuset_cpus", { $0.cpusetCpus = "0-1-2" }),
    ("cpuset_mems", { $0.cpusetMems = "65536" }), ("cpuset_mems", { $0.cpusetMems = "0\n" }),
    ("unified", { $0.unified = ["../x": "1"] }), ("unified", { $0.unified = ["cgroup.procs": "1"] }),
    ("unified", { $0.unified = ["memory": "1"] }), ("unified", { $0.unified = ["memory.high": ""] }),
    ("unified", { $0.unified = ["memory.high": "1\0"] }),
    ("hugepage_limits", { $0.hugepages = [(size: "2MB/..", limit: 1)] }),
    ("hugepage_limits", { $0.hugepages = [(size: "MB", limit: 0)] }),
    ("hugepage_limits", { $0.hugepages = [(size: "2XB", limit: 0)] }),
  ]

  @Test(arguments: refused.indices)
  func `what no kernel takes is said before, by the field`(_ index: Int) {
    let (field, change) = Self.refused[index]
    var limits = Cgroup.Limits()
    change(&limits)
    #expect {
      try limits.check(prefix: "linux.")
    } throws: { error in
      guard let error = error as? RuntimeError else { return false }
      return error.code == .invalidArgument && error.message.hasPrefix("linux.\(field)")
    }
  }

  @Test(
    arguments: [
      { ($0.memoryLimit, $0.memorySwapLimit) = (10, -1) }, { ($0.memoryLimit, $0.memorySwapLimit) = (-1, -1) },
      { ($0.memoryLimit, $0.memorySwapLimit) = (.max, .max) }, { $0.cpuQuota = -1 }, { $0.cpuShares = 262_144 },
      { $0.cpusetCpus = "0,2-5,65535" }, { $0.hugepages = [(size: "64KB", limit: 0), (size: "16GB", limit: .max)] },
      { $0.unified = ["memory.oom.group": "1", "io.max": "8:0 rbps=1"] },
    ] as [Change])
  func `what a kernel may take is not refused`(change: Change) throws {
    var limits = Cgroup.Limits()
    change(&limits)
    try limits.check()
  }

  /// What a v1 group gets, in order; pairs whose order depends on the kernel stand in parentheses.
  private func legacy(
    _ change: Change, controllers: [String] = ["cpu", "memory", "pids", "cpuset", "hugetlb"]
  ) throws
    -> [String]
  {
    var limits = Cgroup.Limits()
    change(&limits)
    let roots = Dictionary(uniqueKeysWithValues: controllers.map { ($0, "/\($0)") })
    let cgroup = CgroupHierarchy(controllers: roots, unifiedRoot: nil).cgroup(at: "/c")
    func text(_ write: LimitWrite) -> String {
      let file = write.path.split(separator: "/").last ?? ""
      return "\(file)=\(write.value)\(write.mayBeMissing ? "?" : "")"
    }
    return try cgroup.steps(limits) { "" }.map { step in
      switch step {
      case .write(let one), .cpuset(let one): text(one)
      case .either(let first, let second): "(\(text(first)) \(text(second)))"
      }
    }
  }

  @Test func `v1 is written in an order that the kernel takes`() throws {
    #expect(try legacy { $0.cpuShares = 512 } == ["cpu.shares=512"])
    #expect(try legacy { $0.cpuQuota = -1 } == ["cpu.cfs_quota_us=-1"])
    #expect(
      try legacy { ($0.cpuPeriod, $0.cpuQuota) = (1000, 2000) } == ["(cpu.cfs_period_us=1000 cpu.cfs_quota_us=2000)"])
    #expect(
      try legacy { $0.memoryLimit = 9 } == ["(memory.limit_in_bytes=9 memory.memsw.limit_in_bytes=9?)"])
    #expect(
      try legacy { ($0.memoryLimit, $0.memorySwapLimit) = (9, 12) }
        == ["(memory.limit_in_bytes=9 memory.memsw.limit_in_bytes=12)"])
    #expect(
      try legacy { ($0.memoryLimit, $0.memorySwapLimit) = (9, -1) }
        == ["(memory.limit_in_bytes=9 memory.memsw.limit_in_bytes=-1?)"])
    #expect(
      try legacy {
        $0.pidsLimit = -1
        $0.cpusetMems = "0"
        $0.cpusetCpus = "1"
      } == ["pids.max=max", "cpuset.cpus=1", "cpuset.mems=0"])
  }

  /// kubelet names every page size that it knows of, with 0 for no pages.
  @Test func `no huge pages are a limit where there are any, and nothing where there are none`() throws {
    let none: Change = { $0.hugepages = [(size: "2MB", limit: 0)] }
    let some: Change = { $0.hugepages = [(size: "2MB", limit: 4 << 20)] }
    #expect(try legacy(none) == ["hugetlb.2MB.limit_in_bytes=0?", "hugetlb.2MB.rsvd.limit_in_bytes=0?"])
    #expect(
      try legacy(some) == ["hugetlb.2MB.limit_in_bytes=4194304", "hugetlb.2MB.rsvd.limit_in_bytes=4194304?"])
    #expect(try legacy(none, controllers: ["memory"]).isEmpty)
    #expect(errno { _ = try legacy(some, controllers: ["memory"]) } == ENOTSUP)
    let hierarchy = CgroupHierarchy(controllers: ["memory": "/memory"], unifiedRoot: nil)
    var limits = Cgroup.Limits()
    none(&limits)
    try hierarchy.check(limits)
    some(&limits)
    #expect {
      try hierarchy.check(limits, prefix: "linux.")
    } throws: { error in
      "\(error)" == "linux.hugepage_limits: this node's cgroups have no hugetlb controller"
        && (error as? RuntimeError)?.code == .failedPrecondition
    }
  }

  struct Refusal: Error {}

  @Test func `a change is put back when what belongs to it fails`() throws {
    let cgroup = try unified(["cpu.weight", "memory.max", "memory.swap.max", "pids.max"])
    for (file, value) in [("cpu.weight", "100"), ("memory.max", "max"), ("memory.swap.max", "max")] {
      try scratch.write("pod/c/\(file)", value + "\n")
    }
    var limits = Cgroup.Limits()
    limits.cpuShares = 512
    limits.memoryLimit = 500
    #expect(throws: Refusal.self) {
      _ = try cgroup.change(limits) {
        #expect(try scratch.read("pod/c/memory.max").hasPrefix("500"))
        throw Refusal()
      }
    }
    #expect(try scratch.read("pod/c/cpu.weight").hasPrefix("100"))
    #expect(try scratch.read("pod/c/memory.max") == "max\n")
    #expect(try scratch.read("pod/c/memory.swap.max") == "max\n")
    // The last of several is refused: its file is not there.
    limits.unified = ["memory.nothing": "1"]
    #expect(errno { _ = try cgroup.change(limits) {} } == ENOENT)
    #expect(try scratch.read("pod/c/memory.max") == "max\n")
    limits.unified = [:]
    #expect(try cgroup.change(limits) {}.isEmpty)
    #expect(try scratch.read("pod/c/memory.max").hasPrefix("500"))
  }
}
