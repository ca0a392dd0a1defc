internal import Glibc
package import RuntimeModel
internal import SystemPackage

extension Cgroup {
  /// What LinuxContainerResources says, in its units; zero or empty means not given, and nothing is written.
  package struct Limits: Sendable {
    /// Microseconds.
    package var cpuPeriod: Int64 = 0
    /// Microseconds per period; -1: no limit.
    package var cpuQuota: Int64 = 0
    /// Relative weight, 2 to 262144, in v1's scale; v2 gets ``Cgroup/weight(shares:)``.
    package var cpuShares: Int64 = 0
    /// Bytes; -1: no limit.
    package var memoryLimit: Int64 = 0
    /// Bytes of memory and swap together; 0: as ``memoryLimit``, so no swap; -1: no limit.
    package var memorySwapLimit: Int64 = 0
    /// -1: no limit.
    package var pidsLimit: Int64 = 0
    /// Kernel's list form, `0-3,7`.
    package var cpusetCpus = ""
    package var cpusetMems = ""
    /// Page size as in the controller's file names (`2MB`), and bytes; 0 is a limit here.
    package var hugepages: [(size: String, limit: UInt64)] = []
    /// v2 file names and values, written as they are, after all others.
    package var unified: [String: String] = [:]

    package init() {}

    /// What no kernel would take, said in the client's words before anything is done.
    ///
    /// - Throws: `.invalidArgument`, naming the field.
    package func check() throws(RuntimeError) {
      if memorySwapLimit != 0 {
        guard memoryLimit != 0 else {
          throw RuntimeError(.invalidArgument, "memory_swap_limit_in_bytes is set without memory_limit_in_bytes")
        }
        guard memorySwapLimit == -1 || memorySwapLimit >= memoryLimit else {
          throw RuntimeError(
            .invalidArgument,
            "memory_swap_limit_in_bytes \(memorySwapLimit) is below memory_limit_in_bytes \(memoryLimit)")
        }
      }
      try check(memoryLimit, "memory_limit_in_bytes", least: 1)
      try check(memorySwapLimit, "memory_swap_limit_in_bytes", least: 1)
      try check(cpuQuota, "cpu_quota", least: 1000)
      try check(pidsLimit, "pids limit", least: 1)
      if cpuPeriod != 0, !(1000...1_000_000).contains(cpuPeriod) {
        throw RuntimeError(.invalidArgument, "cpu_period \(cpuPeriod) is not between 1000 and 1000000 microseconds")
      }
      if cpuShares < 0 { throw RuntimeError(.invalidArgument, "cpu_shares \(cpuShares) is negative") }
      for (name, list) in [("cpuset_cpus", cpusetCpus), ("cpuset_mems", cpusetMems)] {
        guard list.utf8.allSatisfy({ Self.listBytes.contains($0) }) else {
          throw RuntimeError(.invalidArgument, "\(name) \"\(list.prefix(100))\" is not a list of numbers and ranges")
        }
      }
      for (size, _) in hugepages where size.isEmpty || !size.utf8.allSatisfy({ Self.sizeBytes.contains($0) }) {
        throw RuntimeError(.invalidArgument, "page_size \"\(size.prefix(100))\" of hugepage_limits is not a size")
      }
      for key in unified.keys where !Self.isFileName(key) {
        throw RuntimeError(.invalidArgument, "key \"\(key.prefix(100))\" of unified is not the name of a cgroup file")
      }
    }

    private static let listBytes = Set("0123456789,-".utf8)
    private static let sizeBytes = Set("0123456789KMGTB".utf8)

    /// `controller.file`; the core files (`cgroup.procs`, `cgroup.kill`) are no limits.
    private static func isFileName(_ key: String) -> Bool {
      let isPlain = key.utf8.allSatisfy { byte in
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: ".")
          || byte == UInt8(ascii: "_")
      }
      return isPlain && key.contains(".") && !key.hasPrefix(".") && !key.hasPrefix("cgroup.")
    }

    private func check(_ value: Int64, _ name: String, least: Int64) throws(RuntimeError) {
      guard value == 0 || value == -1 || value >= least else {
        throw RuntimeError(.invalidArgument, "\(name) \(value) is neither -1 nor at least \(least)")
      }
    }
  }

  /// Writes the limits. A limit whose controller the node lacks is an error: it would not hold (ATTACKS.md V12).
  ///
  /// - Returns: what was left out because it limits nothing here, in words.
  /// - Throws: which file refused which value.
  @discardableResult
  package func apply(_ limits: Limits) throws(SystemCallError) -> [String] {
    do {
      try limits.check()
    } catch {
      throw SystemCallError(call: "apply limits", errno: .invalidArgument, subject: error.message)
    }
    return hierarchy.kind == .unified ? try applyUnified(limits) : try applyLegacy(limits)
  }

  // MARK: v1

  private func applyLegacy(_ limits: Limits) throws(SystemCallError) -> [String] {
    if limits.cpuPeriod != 0 || limits.cpuQuota != 0 || limits.cpuShares != 0 {
      let cpu = try required("cpu")
      if limits.cpuShares != 0 { try writeKernelFile("\(cpu)/cpu.shares", "\(limits.cpuShares)") }
      try writeBandwidth(cpu, limits)
    }
    if limits.memoryLimit != 0 { try writeLegacyMemory(try required("memory"), limits) }
    if limits.pidsLimit != 0 {
      try writeKernelFile("\(try required("pids"))/pids.max", Self.orMax(limits.pidsLimit))
    }
    if !limits.cpusetCpus.isEmpty {
      try writeKernelFile("\(try required("cpuset"))/cpuset.cpus", limits.cpusetCpus)
    }
    if !limits.cpusetMems.isEmpty {
      try writeKernelFile("\(try required("cpuset"))/cpuset.mems", limits.cpusetMems)
    }
    try writeHugepages(limits, file: "limit_in_bytes", reserved: "rsvd.limit_in_bytes")
    if limits.unified.isEmpty { return [] }
    return [
      "resources.unified is ignored: the node has cgroup v1 (\(limits.unified.keys.sorted().joined(separator: ", ")))"
    ]
  }

  /// The kernel refuses a child that gets more of the time than its parent, at every moment between the two writes. A
  /// shorter period alone may be such a moment; then the quota goes first.
  private func writeBandwidth(_ cpu: String, _ limits: Limits) throws(SystemCallError) {
    let period = "\(cpu)/cpu.cfs_period_us"
    let quota = "\(cpu)/cpu.cfs_quota_us"
    var isPeriodOwed = false
    if limits.cpuPeriod != 0 {
      do {
        try writeKernelFile(period, "\(limits.cpuPeriod)")
      } catch {
        guard error.errno == .invalidArgument, limits.cpuQuota != 0 else { throw error }
        isPeriodOwed = true
      }
    }
    if limits.cpuQuota != 0 { try writeKernelFile(quota, "\(limits.cpuQuota)") }
    if isPeriodOwed { try writeKernelFile(period, "\(limits.cpuPeriod)") }
  }

  /// memory.memsw (memory and swap) may never be below memory: raising both begins with it, lowering both ends with it.
  private func writeLegacyMemory(_ memory: String, _ limits: Limits) throws(SystemCallError) {
    let limit = "\(memory)/memory.limit_in_bytes"
    let both = "\(memory)/memory.memsw.limit_in_bytes"
    let swap = limits.memorySwapLimit != 0 ? limits.memorySwapLimit : limits.memoryLimit
    do {
      try writeKernelFile(limit, "\(limits.memoryLimit)")
      try writeSwap(both, swap, limits)
    } catch {
      guard error.errno == .invalidArgument, error.subject.hasPrefix(limit) else { throw error }
      try writeSwap(both, swap, limits)
      try writeKernelFile(limit, "\(limits.memoryLimit)")
    }
  }

  /// A kernel without swap accounting has no such file; where no swap was asked for, that is no loss.
  private func writeSwap(_ path: String, _ value: Int64, _ limits: Limits) throws(SystemCallError) {
    do {
      try writeKernelFile(path, "\(value)")
    } catch {
      guard error.errno == .noSuchFileOrDirectory, value == limits.memoryLimit else { throw error }
    }
  }

  // MARK: v2

  private func applyUnified(_ limits: Limits) throws(SystemCallError) -> [String] {
    let directory = try required("cpu")
    func put(_ file: String, _ value: String) throws(SystemCallError) {
      try writeKernelFile("\(directory)/\(file)", value)
    }
    if limits.cpuShares != 0 { try put("cpu.weight", "\(Self.weight(shares: limits.cpuShares))") }
    if limits.cpuQuota != 0 || limits.cpuPeriod != 0 { try put("cpu.max", try cpuMax(directory, limits)) }
    if limits.memoryLimit != 0 {
      try put("memory.max", Self.orMax(limits.memoryLimit))
      let isNone = limits.memorySwapLimit == 0 || limits.memorySwapLimit == limits.memoryLimit
      let isFree = limits.memorySwapLimit == -1 || (limits.memoryLimit == -1 && isNone)
      do {
        try put("memory.swap.max", isFree ? "max" : isNone ? "0" : "\(limits.memorySwapLimit - limits.memoryLimit)")
      } catch {
        guard error.errno == .noSuchFileOrDirectory, isNone else { throw error }
      }
    }
    if limits.pidsLimit != 0 { try put("pids.max", Self.orMax(limits.pidsLimit)) }
    if !limits.cpusetCpus.isEmpty { try put("cpuset.cpus", limits.cpusetCpus) }
    if !limits.cpusetMems.isEmpty { try put("cpuset.mems", limits.cpusetMems) }
    try writeHugepages(limits, file: "max", reserved: "rsvd.max")
    for (key, value) in limits.unified.sorted(by: { $0.key < $1.key }) { try put(key, value) }
    return []
  }

  /// `cpu.max` takes both or the quota alone; with the period alone the quota in force is said again.
  private func cpuMax(_ directory: String, _ limits: Limits) throws(SystemCallError) -> String {
    var quota = Self.orMax(limits.cpuQuota)
    if limits.cpuQuota == 0 {
      let now = try readSmallFile("\(directory)/cpu.max", limit: 256)
      quota = String(decoding: now.prefix { $0 > 0x20 }, as: UTF8.self)
    }
    return limits.cpuPeriod != 0 ? "\(quota) \(limits.cpuPeriod)" : "\(quota) 100000"
  }

  // MARK: Both

  /// A node without the controller has no huge pages to limit; both peers let it pass.
  private func writeHugepages(_ limits: Limits, file: String, reserved: String) throws(SystemCallError) {
    guard let directory = directory(of: "hugetlb") else { return }
    for (size, limit) in limits.hugepages {
      for name in ["hugetlb.\(size).\(file)", "hugetlb.\(size).\(reserved)"] {
        do {
          try writeKernelFile("\(directory)/\(name)", "\(limit)")
        } catch {
          guard error.errno == .noSuchFileOrDirectory, limit == 0 || name.contains(".rsvd.") else { throw error }
        }
      }
    }
  }

  private func required(_ controller: String) throws(SystemCallError) -> String {
    if let directory = directory(of: controller) { return directory }
    throw SystemCallError(
      call: "limit", errno: .notSupported, subject: "cgroup \(path): the node has no \(controller) controller")
  }

  private static func orMax(_ value: Int64) -> String { value < 0 ? "max" : "\(value)" }

  /// v2's `cpu.weight` for v1's `cpu.shares` (CRI.md 2.10): both defaults, 1024 and 100, meet.
  package static func weight(shares: Int64) -> Int64 {
    if shares <= 2 { return 1 }
    if shares >= 262_144 { return 10_000 }
    let l = log2(Double(shares))
    return Int64(ceil(pow(10, (l * l + 125 * l) / 612 - 7.0 / 34)))
  }
}
