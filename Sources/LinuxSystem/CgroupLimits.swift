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
    /// - Parameter prefix: put before the field's name, for example `linux.resources.`.
    /// - Throws: `.invalidArgument`, naming the field.
    package func check(prefix: String = "") throws(RuntimeError) {
      do {
        try checkNumbers()
        try checkLists()
        try checkHugepages()
        try checkUnified()
      } catch {
        throw RuntimeError(error.code, prefix + error.message)
      }
    }

    private func checkNumbers() throws(RuntimeError) {
      try Self.check(memoryLimit, "memory_limit_in_bytes", least: 1)
      try Self.check(memorySwapLimit, "memory_swap_limit_in_bytes", least: 1)
      try Self.check(cpuQuota, "cpu_quota", least: 1000, most: Self.greatestQuota)
      try Self.check(pidsLimit, "pids_limit", least: 1, most: Self.greatestPids)
      if memorySwapLimit != 0 {
        guard memoryLimit != 0 else {
          throw RuntimeError(.invalidArgument, "memory_swap_limit_in_bytes is set without memory_limit_in_bytes")
        }
        let isBelow = memoryLimit == -1 ? memorySwapLimit != -1 : memorySwapLimit < memoryLimit
        guard memorySwapLimit == -1 || !isBelow else {
          throw RuntimeError(
            .invalidArgument,
            "memory_swap_limit_in_bytes \(memorySwapLimit) is below memory_limit_in_bytes \(memoryLimit)")
        }
      }
      if cpuPeriod != 0, !(1000...1_000_000).contains(cpuPeriod) {
        throw RuntimeError(.invalidArgument, "cpu_period \(cpuPeriod) is not between 1000 and 1000000 microseconds")
      }
      guard (0...262_144).contains(cpuShares) else {
        throw RuntimeError(.invalidArgument, "cpu_shares \(cpuShares) is not between 2 and 262144")
      }
    }

    /// What the kernel's scheduler can count, microseconds.
    private static let greatestQuota: Int64 = 1 << 44 - 1
    /// PID_MAX_LIMIT.
    private static let greatestPids: Int64 = 1 << 22

    private static func check(
      _ value: Int64, _ name: String, least: Int64, most: Int64 = .max
    ) throws(RuntimeError) {
      guard value == 0 || value == -1 || (least...most).contains(value) else {
        let most = most == .max ? "" : " and at most \(most)"
        throw RuntimeError(.invalidArgument, "\(name) \(value) is neither -1 nor at least \(least)\(most)")
      }
    }

    private func checkLists() throws(RuntimeError) {
      for (name, list) in [("cpuset_cpus", cpusetCpus), ("cpuset_mems", cpusetMems)] {
        guard list.isEmpty || Self.isList(list) else {
          throw RuntimeError(.invalidArgument, "\(name) \"\(list.prefix(100))\" is not a list of numbers and ranges")
        }
      }
    }

    /// Numbers and rising ranges, joined by commas; no node has more than 65536 of either kind.
    private static func isList(_ text: String) -> Bool {
      guard text.utf8.count <= 4096 else { return false }
      return text.split(separator: ",", omittingEmptySubsequences: false).allSatisfy { part in
        let ends = part.split(separator: "-", omittingEmptySubsequences: false).map(number)
        guard ends.count <= 2, let first = ends[0], let last = ends[ends.count - 1] else { return false }
        return first <= last && last < 65_536
      }
    }

    /// Digits alone: `Int` would take a sign.
    private static func number(_ text: Substring) -> Int? {
      text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ? Int(text) : nil
    }

    private func checkHugepages() throws(RuntimeError) {
      for (size, _) in hugepages where Self.kibibytes(ofPage: size) == nil {
        throw RuntimeError(
          .invalidArgument, "hugepage_limits: page_size \"\(size.prefix(100))\" is not a size like 2MB")
      }
    }

    /// `2MB` in KiB; nil for what is no page size in the controller's spelling.
    static func kibibytes(ofPage size: String) -> UInt64? {
      let units: [(String, UInt64)] = [("KB", 1), ("MB", 1 << 10), ("GB", 1 << 20)]
      guard let (unit, factor) = units.first(where: { size.hasSuffix($0.0) }),
        let count = number(size.dropLast(unit.utf8.count)), (1...65_536).contains(count)
      else { return nil }
      return UInt64(count) * factor
    }

    private func checkUnified() throws(RuntimeError) {
      for (key, value) in unified {
        guard Self.isFileName(key) else {
          throw RuntimeError(.invalidArgument, "unified: key \"\(key.prefix(100))\" is not the name of a cgroup file")
        }
        // One write takes at most a page.
        guard (1...4095).contains(value.utf8.count), !value.utf8.contains(0) else {
          throw RuntimeError(
            .invalidArgument, "unified: the value of \(key) is empty, longer than 4095 bytes or has a NUL byte")
        }
      }
    }

    /// `controller.file`; the core files (`cgroup.procs`, `cgroup.kill`) are no limits.
    private static func isFileName(_ key: String) -> Bool {
      let isPlain = key.utf8.allSatisfy { byte in
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: ".")
          || byte == UInt8(ascii: "_")
      }
      return isPlain && key.utf8.count <= 255 && key.contains(".") && !key.hasPrefix(".") && !key.hasPrefix("cgroup.")
    }
  }

  /// v2's `cpu.weight` for v1's `cpu.shares` (CRI.md 2.10): both defaults, 1024 and 100, meet.
  package static func weight(shares: Int64) -> Int64 {
    if shares <= 2 { return 1 }
    if shares >= 262_144 { return 10_000 }
    let l = log2(Double(shares))
    return Int64(ceil(pow(10, (l * l + 125 * l) / 612 - 7.0 / 34)))
  }
}

extension CgroupHierarchy {
  /// What no kernel takes, and what this node cannot limit, said before anything is made: a limit that would not hold is
  /// refused (ATTACKS.md V12).
  ///
  /// - Parameter prefix: put before the field's name.
  /// - Throws: `.invalidArgument` and `.failedPrecondition`, naming the field.
  package func check(_ limits: Cgroup.Limits, prefix: String = "") throws(RuntimeError) {
    try limits.check(prefix: prefix)
    let controllers = kind == .unified ? Self.words("\(unifiedRoot ?? "")/cgroup.controllers") : Set(controllers.keys)
    let pages = limits.hugepages.first { $0.limit != 0 }
    for (field, isAsked, controller) in [
      ("cpu_shares", limits.cpuShares != 0, "cpu"), ("cpu_period", limits.cpuPeriod != 0, "cpu"),
      ("cpu_quota", limits.cpuQuota != 0, "cpu"), ("memory_limit_in_bytes", limits.memoryLimit != 0, "memory"),
      ("cpuset_cpus", !limits.cpusetCpus.isEmpty, "cpuset"), ("cpuset_mems", !limits.cpusetMems.isEmpty, "cpuset"),
      ("hugepage_limits", pages != nil, "hugetlb"), ("pids_limit", limits.pidsLimit != 0, "pids"),
    ] where isAsked && !controllers.contains(controller) {
      throw RuntimeError(.failedPrecondition, "\(prefix)\(field): this node's cgroups have no \(controller) controller")
    }
    for (size, limit) in limits.hugepages where limit != 0 {
      let directory = "/sys/kernel/mm/hugepages/hugepages-\(Cgroup.Limits.kibibytes(ofPage: size) ?? 0)kB"
      guard access(directory, F_OK) == 0 else {
        throw RuntimeError(.failedPrecondition, "\(prefix)hugepage_limits: this node has no huge pages of \(size)")
      }
    }
  }
}
