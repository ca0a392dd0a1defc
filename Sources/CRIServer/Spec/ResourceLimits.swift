import CRIProtocol
import LinuxSystem
import RuntimeModel
import SystemPackage

extension Cgroup.Limits {
  /// The CRI's resources; zero and empty mean "not asked" and stay unwritten, but for huge pages: kubelet sends every
  /// size of the node, with 0 where none is requested, and that is a limit. ``check(prefix:)`` says whether they can be.
  init(_ resources: Runtime_V1_LinuxContainerResources) {
    self.init()
    cpuPeriod = resources.cpuPeriod
    cpuQuota = resources.cpuQuota
    cpuShares = resources.cpuShares
    memoryLimit = resources.memoryLimitInBytes
    memorySwapLimit = resources.memorySwapLimitInBytes
    cpusetCpus = resources.cpusetCpus
    cpusetMems = resources.cpusetMems
    unified = resources.unified
    hugepages = resources.hugepageLimits.map { (size: $0.pageSize, limit: $0.limit) }
  }
}

extension Runtime_V1_LinuxContainerResources {
  /// - Parameter prefix: put before the field's name, for example `linux.resources.`.
  /// - Throws: `invalidArgument` unless it is one.
  func checkedOOMScore(prefix: String) throws(RuntimeError) -> Int32 {
    guard (-1000...1000).contains(oomScoreAdj) else {
      throw RuntimeError(.invalidArgument, "\(prefix)oom_score_adj: \(oomScoreAdj) is not in -1000...1000")
    }
    return Int32(oomScoreAdj)
  }

  /// With what an update gives: zero and empty leave a field as it is, huge pages count by size, unified by key.
  func updated(by update: Self) -> Self {
    var result = self
    if update.cpuPeriod != 0 { result.cpuPeriod = update.cpuPeriod }
    if update.cpuQuota != 0 { result.cpuQuota = update.cpuQuota }
    if update.cpuShares != 0 { result.cpuShares = update.cpuShares }
    if update.memoryLimitInBytes != 0 {
      // Who had no swap has none afterwards.
      let hadNoSwap = memorySwapLimitInBytes != 0 && memorySwapLimitInBytes == memoryLimitInBytes
      if hadNoSwap { result.memorySwapLimitInBytes = update.memoryLimitInBytes }
      result.memoryLimitInBytes = update.memoryLimitInBytes
    }
    if update.memorySwapLimitInBytes != 0 { result.memorySwapLimitInBytes = update.memorySwapLimitInBytes }
    if update.oomScoreAdj != 0 { result.oomScoreAdj = update.oomScoreAdj }
    if !update.cpusetCpus.isEmpty { result.cpusetCpus = update.cpusetCpus }
    if !update.cpusetMems.isEmpty { result.cpusetMems = update.cpusetMems }
    for limit in update.hugepageLimits {
      result.hugepageLimits.removeAll { $0.pageSize == limit.pageSize }
      result.hugepageLimits.append(limit)
    }
    result.unified.merge(update.unified) { $1 }
    return result
  }
}

/// One UpdateContainerResources, checked against what the container has.
struct ResourceChange: Sendable {
  private static let swapKey = "memory.swap.max"

  /// What it has afterwards: kept, shown, and applied by a later start.
  var resources: Runtime_V1_LinuxContainerResources
  /// What a running container's group gets: only what the update gives, and what the kernel wants beside it.
  var limits: Cgroup.Limits
  /// nil: stays.
  var oomScore: Int32?

  /// - Parameter prefix: of the update's fields, for errors.
  /// - Throws: `invalidArgument` naming the field.
  init(
    _ update: Runtime_V1_LinuxContainerResources, of current: Runtime_V1_LinuxContainerResources, prefix: String
  ) throws(RuntimeError) {
    resources = current.updated(by: update)
    try Cgroup.Limits(resources).check(prefix: prefix)
    let score = try update.checkedOOMScore(prefix: prefix)
    oomScore = score == 0 ? nil : score
    limits = Cgroup.Limits(update)
    if limits.cpuPeriod != 0 || limits.cpuQuota != 0 {
      (limits.cpuPeriod, limits.cpuQuota) = (resources.cpuPeriod, resources.cpuQuota)
    }
    if limits.memoryLimit != 0 || limits.memorySwapLimit != 0 {
      (limits.memoryLimit, limits.memorySwapLimit) = (resources.memoryLimitInBytes, resources.memorySwapLimitInBytes)
      // Kubelet's LimitedSwap is this key; writing memory on v2 writes the file, too.
      limits.unified[Self.swapKey] = resources.unified[Self.swapKey]
    }
  }
}

extension RuntimeError {
  /// A limit that the kernel refused, in the client's words: a value that it does not take is the request's fault, one
  /// that it cannot hold now is not.
  init(_ error: LimitError, prefix: String) {
    let code: Code =
      switch error.cause.errno {
      case .invalidArgument, .outOfRange, .fileTooLarge, .argListTooLong: .invalidArgument
      case .resourceBusy, .noSuchFileOrDirectory, .notSupported, .permissionDenied, .noSpace: .failedPrecondition
      default: .internalError
      }
    self.init(code, prefix + error.description)
  }
}
