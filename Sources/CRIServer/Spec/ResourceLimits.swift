import CRIProtocol
import LinuxSystem

extension Cgroup.Limits {
  /// The CRI's resources; zero and empty mean "not asked" and stay unwritten. kubelet sends every huge page size of the
  /// node, with 0 where none is requested. ``check()`` says whether they can be.
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
    hugepages = resources.hugepageLimits.filter { $0.limit != 0 }.map { (size: $0.pageSize, limit: $0.limit) }
  }
}
