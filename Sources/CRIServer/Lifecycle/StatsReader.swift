import CRIProtocol
import ImageStore
import LinuxSystem
import RuntimeModel

/// Reads what containers and pods use, for the stats RPCs: cgroup files, one file of procfs, and counts of writable
/// layers that were made before. Never a call to a shim; what cannot be read is left out (CRI.md 6).
struct StatsReader: Sendable {
  let daemon: Daemon
  private let nodeSwap: UInt64
  /// The same as ImageFsInfo's.
  private let mountpoint: String

  init(_ daemon: Daemon) async throws {
    self.daemon = daemon
    nodeSwap = Cgroup.nodeSwap()
    mountpoint = try await daemon.images.usage().mountpoint
  }

  /// Several at once: each costs some hundred microseconds of the kernel's time.
  func all<Object: Sendable, Stats: Sendable>(
    _ objects: [Object], _ read: @escaping @Sendable (Object) -> Stats
  ) async throws -> [Stats] {
    let size = max(8, (objects.count + 3) / 4)
    let parts = stride(from: 0, to: objects.count, by: size).map { Array(objects[$0..<min($0 + size, objects.count)]) }
    return try await withThrowingTaskGroup(of: (Int, [Stats]).self) { group in
      for (index, part) in parts.enumerated() {
        group.addTask { (index, try await daemon.threads.run { part.map(read) }) }
      }
      var found = [[Stats]](repeating: [], count: parts.count)
      for try await (index, stats) in group { found[index] = stats }
      return found.flatMap(\.self)
    }
  }

  // MARK: Containers

  /// Blocks its thread.
  func container(_ container: Container) -> Runtime_V1_ContainerStats {
    var stats = Runtime_V1_ContainerStats()
    stats.attributes.id = container.id.value
    stats.attributes.metadata = container.config.metadata
    stats.attributes.labels = container.config.labels
    stats.attributes.annotations = container.config.annotations
    let record = container.record
    if record.state == .running, let path = daemon.cgroupPath(of: container) {
      let usage = daemon.cgroups.cgroup(at: path).usage(nodeSwap: nodeSwap)
      let now = WallClock.now()
      if let cpu = usage.cpu(container.processor, now) { stats.cpu = cpu }
      if let memory = usage.memoryUsage(now) { stats.memory = memory }
      if let swap = usage.swapUsage(now) { stats.swap = swap }
      if let io = usage.ioUsage(now) { stats.io = io }
    }
    if let layer = writableLayer(container, record) { stats.writableLayer = layer }
    return stats
  }

  private func writableLayer(_ container: Container, _ record: ContainerRecord) -> Runtime_V1_FilesystemUsage? {
    guard let snapshot = daemon.images.snapshot(key: container.id) else { return nil }
    var usage = Runtime_V1_FilesystemUsage()
    usage.fsID.mountpoint = mountpoint
    usage.timestamp = WallClock.now()
    let measured = container.writableLayer.current(
      snapshot.upperDirectory, hasEnded: record.state == .exited, later: daemon.measurers)
    if let measured {
      usage.timestamp = measured.timestamp
      usage.usedBytes.value = measured.usage.bytes
      usage.inodesUsed.value = measured.usage.inodes
    }
    return usage
  }

  // MARK: Pods

  /// Blocks its thread.
  func sandbox(_ sandbox: Sandbox) -> Runtime_V1_PodSandboxStats {
    var stats = Runtime_V1_PodSandboxStats()
    stats.attributes.id = sandbox.id.value
    stats.attributes.metadata = sandbox.config.metadata
    stats.attributes.labels = sandbox.config.labels
    stats.attributes.annotations = sandbox.config.annotations
    let record = sandbox.record
    let containers = daemon.containers(of: sandbox.id)
    let running = containers.filter { $0.record.state == .running }
    let groups = running.map { daemon.cgroups.cgroup(at: "\(record.cgroupParent)/\($0.id)") }
    let usage = podUsage(sandbox, record, groups)
    let now = WallClock.now()
    if let cpu = usage.cpu(sandbox.processor, now) { stats.linux.cpu = cpu }
    if let memory = usage.memoryUsage(now) { stats.linux.memory = memory }
    if let io = usage.ioUsage(now) { stats.linux.io = io }
    stats.linux.process.timestamp = now
    stats.linux.process.processCount.value = groups.compactMap(\.tasks).reduce(0, +)
    stats.linux.containers = containers.map(container)
    if !sandbox.namespaces.hasHostNetwork, let pause = record.pause,
      let network = Runtime_V1_NetworkUsage(InterfaceCounters.read(of: pause) ?? [])
    {
      stats.linux.network = network
    }
    return stats
  }

  /// The pod's own group, which kubelet makes and whose limits bind the pod; where the client named none, our pods share
  /// one, and the sum of pause and containers is the pod's.
  private func podUsage(_ sandbox: Sandbox, _ record: SandboxRecord, _ groups: [Cgroup]) -> CgroupUsage {
    guard sandbox.config.linux.cgroupParent.isEmpty else {
      return daemon.cgroups.cgroup(at: record.cgroupParent).usage(nodeSwap: nodeSwap)
    }
    let pause = daemon.cgroups.cgroup(at: "\(record.cgroupParent)/\(sandbox.id)")
    return CgroupUsage(sum: ([pause] + groups).map { $0.usage(nodeSwap: nodeSwap) })
  }
}

extension CgroupUsage {
  /// What adds up: times, bytes, faults. What is left below several limits, and pressure, do not.
  init(sum parts: [CgroupUsage]) {
    self.init()
    let times = parts.compactMap(\.processorTime)
    if !times.isEmpty { processorTime = times.reduce(0, &+) }
    for part in parts.compactMap(\.memory) {
      guard var total = memory else {
        memory = part
        memory?.available = 0
        continue
      }
      total.usage &+= part.usage
      total.workingSet &+= part.workingSet
      total.anonymous = total.anonymous.flatMap { one in part.anonymous.map { one &+ $0 } }
      total.pageFaults = total.pageFaults.flatMap { one in part.pageFaults.map { one &+ $0 } }
      total.majorPageFaults = total.majorPageFaults.flatMap { one in part.majorPageFaults.map { one &+ $0 } }
      memory = total
    }
  }

  /// - Parameter now: wall clock, nanoseconds; of all timestamps.
  func cpu(_ history: ProcessorHistory, _ now: Int64) -> Runtime_V1_CpuUsage? {
    guard let processorTime else { return nil }
    var usage = Runtime_V1_CpuUsage()
    usage.timestamp = now
    usage.usageCoreNanoSeconds.value = processorTime
    if let rate = history.rate(processorTime) { usage.usageNanoCores.value = rate }
    if let processorPressure { usage.psi = Runtime_V1_PsiStats(processorPressure) }
    return usage
  }

  func memoryUsage(_ now: Int64) -> Runtime_V1_MemoryUsage? {
    guard let memory else { return nil }
    var usage = Runtime_V1_MemoryUsage()
    usage.timestamp = now
    usage.usageBytes.value = memory.usage
    usage.workingSetBytes.value = memory.workingSet
    usage.availableBytes.value = memory.available
    if let anonymous = memory.anonymous { usage.rssBytes.value = anonymous }
    if let faults = memory.pageFaults { usage.pageFaults.value = faults }
    if let faults = memory.majorPageFaults { usage.majorPageFaults.value = faults }
    if let memoryPressure { usage.psi = Runtime_V1_PsiStats(memoryPressure) }
    return usage
  }

  func swapUsage(_ now: Int64) -> Runtime_V1_SwapUsage? {
    guard let swap else { return nil }
    var usage = Runtime_V1_SwapUsage()
    usage.timestamp = now
    usage.swapUsageBytes.value = swap.usage
    usage.swapAvailableBytes.value = swap.available
    return usage
  }

  func ioUsage(_ now: Int64) -> Runtime_V1_IoUsage? {
    guard let ioPressure else { return nil }
    var usage = Runtime_V1_IoUsage()
    usage.timestamp = now
    usage.psi = Runtime_V1_PsiStats(ioPressure)
    return usage
  }
}

extension Runtime_V1_PsiStats {
  init(_ pressure: Pressure) {
    self.init()
    if let line = pressure.some { some = Runtime_V1_PsiData(line) }
    if let line = pressure.full { full = Runtime_V1_PsiData(line) }
  }
}

extension Runtime_V1_PsiData {
  init(_ line: Pressure.Line) {
    self.init()
    total = line.total
    avg10 = line.average10
    avg60 = line.average60
    avg300 = line.average300
  }
}

extension Runtime_V1_NetworkUsage {
  /// - Returns: nil without an interface: kubelet reads the default one unseen.
  init?(_ counters: [InterfaceCounters]) {
    guard let main = counters.first(where: { $0.name == "eth0" }) ?? counters.first else { return nil }
    self.init()
    timestamp = WallClock.now()
    defaultInterface = Runtime_V1_NetworkInterfaceUsage(main)
    interfaces = counters.filter { $0.name != main.name }.map(Runtime_V1_NetworkInterfaceUsage.init)
  }
}

extension Runtime_V1_NetworkInterfaceUsage {
  init(_ counters: InterfaceCounters) {
    self.init()
    name = counters.name
    rxBytes.value = counters.receivedBytes
    rxErrors.value = counters.receiveErrors
    txBytes.value = counters.sentBytes
    txErrors.value = counters.sendErrors
  }
}
