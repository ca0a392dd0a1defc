import CRIProtocol

/// The arithmetic by which kubelet turns a manifest's resources into what the kernel is told.
enum Resources {
  static let quotaPeriod: Int64 = 100_000

  /// The API server's default: a limit without a request is the request too.
  static func requests(_ container: ContainerManifest) -> ResourceAmounts {
    ResourceAmounts(
      milliCPU: container.requests.milliCPU ?? container.limits.milliCPU,
      memoryBytes: container.requests.memoryBytes ?? container.limits.memoryBytes)
  }

  /// Weight in cgroup v1's measure, where 1024 is one CPU.
  static func shares(milliCPU: Int64) -> Int64 { min(max(milliCPU * 1024 / 1000, 2), 262_144) }

  /// Microseconds of CPU per period; 0 for no limit.
  static func quota(milliCPU: Int64) -> Int64 { milliCPU == 0 ? 0 : max(milliCPU * quotaPeriod / 1000, 1000) }

  enum QualityOfService: String, Sendable {
    case guaranteed = "Guaranteed"
    case burstable = "Burstable"
    case bestEffort = "BestEffort"
  }

  static func quality(_ pod: PodManifest) -> QualityOfService {
    let asks = pod.containers.map { (requests: requests($0), limits: $0.limits) }
    let isPositive = { (amount: Int64?) in (amount ?? 0) > 0 }
    let asksNothing = asks.allSatisfy { requests, limits in
      ![requests.milliCPU, requests.memoryBytes, limits.milliCPU, limits.memoryBytes].contains(where: isPositive)
    }
    if asksNothing { return .bestEffort }
    let isGuaranteed = asks.allSatisfy { requests, limits in
      isPositive(limits.milliCPU) && isPositive(limits.memoryBytes) && requests == limits
    }
    return isGuaranteed ? .guaranteed : .burstable
  }

  /// kubelet's out-of-memory score: the more of its request a burstable container would be of the node's memory, the
  /// later it is chosen.
  static func outOfMemoryScore(_ container: ContainerManifest, in pod: PodManifest, nodeMemoryBytes: Int64) -> Int64 {
    switch quality(pod) {
    case .guaranteed: return -997
    case .bestEffort: return 1000
    case .burstable:
      guard nodeMemoryBytes > 0 else { return 999 }
      let request = requests(container).memoryBytes ?? 0
      let share = Double(request) / Double(nodeMemoryBytes) * 1000
      return min(max(1000 - Int64(share), 3), 999)
    }
  }

  static func linux(
    _ container: ContainerManifest, in pod: PodManifest, nodeMemoryBytes: Int64
  ) -> Runtime_V1_LinuxContainerResources {
    var resources = Runtime_V1_LinuxContainerResources()
    resources.cpuShares = shares(milliCPU: requests(container).milliCPU ?? 0)
    resources.cpuPeriod = quotaPeriod
    resources.cpuQuota = quota(milliCPU: container.limits.milliCPU ?? 0)
    resources.memoryLimitInBytes = container.limits.memoryBytes ?? 0
    resources.oomScoreAdj = outOfMemoryScore(container, in: pod, nodeMemoryBytes: nodeMemoryBytes)
    return resources
  }
}
