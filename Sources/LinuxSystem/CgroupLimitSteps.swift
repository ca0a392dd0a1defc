internal import Glibc
internal import SystemPackage

/// One file that gets one value.
struct LimitWrite: Sendable, Equatable {
  /// CRI's name of the field, for errors.
  var field: String
  var path: String
  var value: String
  /// A file that is not there limits nothing here, and nothing was asked that it would have to hold.
  var mayBeMissing = false
}

/// What is written for a set of limits, in order. Says what, and does nothing.
enum LimitStep: Sendable, Equatable {
  case write(LimitWrite)
  /// In this order, or the other way around where the kernel refuses the first (EINVAL).
  case either(LimitWrite, LimitWrite)
  /// A v1 cpuset, which may not lose what a group below it has.
  case cpuset(LimitWrite)
}

extension Cgroup {
  /// - Parameter inForce: the group's `cpu.max`, asked for where a period comes without a quota.
  /// - Throws: ENOTSUP for a limit whose controller a v1 node lacks.
  func steps(_ limits: Limits, inForce: () -> String) throws(LimitError) -> [LimitStep] {
    hierarchy.kind == .unified ? unifiedSteps(limits, inForce: inForce) : try legacySteps(limits)
  }

  // MARK: v1

  private func legacySteps(_ limits: Limits) throws(LimitError) -> [LimitStep] {
    var steps: [LimitStep] = []
    func add(_ field: String, _ controller: String, _ file: String, _ value: String) throws(LimitError) {
      let path = "\(try required(controller, field))/\(file)"
      let write = LimitWrite(field: field, path: path, value: value)
      steps.append(controller == "cpuset" ? .cpuset(write) : .write(write))
    }
    if limits.cpuShares != 0 { try add("cpu_shares", "cpu", "cpu.shares", "\(limits.cpuShares)") }
    // The kernel refuses a child that gets more of the time than its parent, at every moment between the two writes. A
    // shorter period alone may be such a moment; then the quota goes first.
    let isCut = (limits.cpuPeriod != 0, limits.cpuQuota != 0)
    if isCut.0 { try add("cpu_period", "cpu", "cpu.cfs_period_us", "\(limits.cpuPeriod)") }
    if isCut.1 { try add("cpu_quota", "cpu", "cpu.cfs_quota_us", "\(limits.cpuQuota)") }
    if isCut == (true, true) { Self.join(&steps) }
    if limits.memoryLimit != 0 {
      // memory.memsw (memory and swap) may never be below memory: raising both begins with it, lowering both ends with
      // it. A kernel without swap accounting has no such file; where no swap was asked for, that is no loss.
      let swap = limits.memorySwapLimit != 0 ? limits.memorySwapLimit : limits.memoryLimit
      let memory = try required("memory", "memory_limit_in_bytes")
      steps.append(
        .either(
          LimitWrite(
            field: "memory_limit_in_bytes", path: "\(memory)/memory.limit_in_bytes", value: "\(limits.memoryLimit)"),
          LimitWrite(
            field: "memory_swap_limit_in_bytes", path: "\(memory)/memory.memsw.limit_in_bytes", value: "\(swap)",
            mayBeMissing: swap == limits.memoryLimit || swap == -1)))
    }
    if limits.pidsLimit != 0 { try add("pids_limit", "pids", "pids.max", Self.orMax(limits.pidsLimit)) }
    if !limits.cpusetCpus.isEmpty { try add("cpuset_cpus", "cpuset", "cpuset.cpus", limits.cpusetCpus) }
    if !limits.cpusetMems.isEmpty { try add("cpuset_mems", "cpuset", "cpuset.mems", limits.cpusetMems) }
    if limits.hugepages.contains(where: { $0.limit != 0 }) { _ = try required("hugetlb", "hugepage_limits") }
    return steps + hugepageSteps(limits, file: "limit_in_bytes", reserved: "rsvd.limit_in_bytes")
  }

  private static func join(_ steps: inout [LimitStep]) {
    if case .write(let second)? = steps.popLast(), case .write(let first)? = steps.popLast() {
      steps.append(.either(first, second))
    }
  }

  private func required(_ controller: String, _ field: String) throws(LimitError) -> String {
    if let directory = directory(of: controller) { return directory }
    throw LimitError(
      field: field,
      cause: SystemCallError(
        call: "limit", errno: .notSupported, subject: "cgroup \(path): the node has no \(controller) controller"))
  }

  // MARK: v2

  private func unifiedSteps(_ limits: Limits, inForce: () -> String) -> [LimitStep] {
    let directory = unifiedDirectory ?? ""
    var steps: [LimitStep] = []
    func add(_ field: String, _ file: String, _ value: String, mayBeMissing: Bool = false) {
      steps.append(
        .write(
          LimitWrite(field: field, path: "\(directory)/\(file)", value: value, mayBeMissing: mayBeMissing)))
    }
    if limits.cpuShares != 0 { add("cpu_shares", "cpu.weight", "\(Self.weight(shares: limits.cpuShares))") }
    if limits.cpuQuota != 0 || limits.cpuPeriod != 0 {
      // Both, or the quota alone; with the period alone the quota in force is said again.
      let quota = limits.cpuQuota != 0 ? Self.orMax(limits.cpuQuota) : String(inForce().prefix { $0 > " " })
      let period = limits.cpuPeriod != 0 ? limits.cpuPeriod : 100_000
      add(limits.cpuQuota != 0 ? "cpu_quota" : "cpu_period", "cpu.max", "\(quota.isEmpty ? "max" : quota) \(period)")
    }
    if limits.memoryLimit != 0 {
      add("memory_limit_in_bytes", "memory.max", Self.orMax(limits.memoryLimit))
      let isNone = limits.memorySwapLimit == 0 || limits.memorySwapLimit == limits.memoryLimit
      let isFree = limits.memorySwapLimit == -1 || (limits.memoryLimit == -1 && isNone)
      add(
        "memory_swap_limit_in_bytes", "memory.swap.max",
        isFree ? "max" : isNone ? "0" : "\(limits.memorySwapLimit - limits.memoryLimit)",
        mayBeMissing: isNone || isFree)
    }
    if limits.pidsLimit != 0 { add("pids_limit", "pids.max", Self.orMax(limits.pidsLimit)) }
    if !limits.cpusetCpus.isEmpty { add("cpuset_cpus", "cpuset.cpus", limits.cpusetCpus) }
    if !limits.cpusetMems.isEmpty { add("cpuset_mems", "cpuset.mems", limits.cpusetMems) }
    steps += hugepageSteps(limits, file: "max", reserved: "rsvd.max")
    for (key, value) in limits.unified.sorted(by: { $0.key < $1.key }) { add("unified", key, value) }
    return steps
  }

  // MARK: Both

  /// kubelet names every size of the node, with 0 where none is asked for: no pages then, and nothing to do where the
  /// node has none. Reserved pages count apart since Linux 5.7.
  private func hugepageSteps(_ limits: Limits, file: String, reserved: String) -> [LimitStep] {
    guard let directory = directory(of: "hugetlb") else { return [] }
    return limits.hugepages.flatMap { size, limit in
      [
        .write(
          LimitWrite(
            field: "hugepage_limits", path: "\(directory)/hugetlb.\(size).\(file)", value: "\(limit)",
            mayBeMissing: limit == 0)),
        .write(
          LimitWrite(
            field: "hugepage_limits", path: "\(directory)/hugetlb.\(size).\(reserved)", value: "\(limit)",
            mayBeMissing: true)),
      ]
    }
  }

  private static func orMax(_ value: Int64) -> String { value < 0 ? "max" : "\(value)" }
}
