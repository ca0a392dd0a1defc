import ArgumentParser
import CRIProtocol

struct Stats: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows what the running containers use.",
    discussion: """
      CPU is in thousandths of a processor over the last second or so, MEMORY what kubelet evicts by (the working set),
      DISK the writable layer.
      """)

  @OptionGroup var global: GlobalOptions
  @OptionGroup var output: OutputOptions

  /// One container's figures, with the rate that two readings gave.
  private struct Shown {
    var container: Runtime_V1_Container
    var sandbox: Runtime_V1_PodSandbox?
    var stats: Runtime_V1_ContainerStats
    /// Billionths of a processor; nil where it is not known.
    var rate: UInt64?
  }

  func run() async throws {
    let shown = try await global.withRuntime { connection in
      let inventory = try await Inventory.load(connection)
      let first = try await Self.ask(connection)
      // A runtime that has a rate by itself says it at once.
      let needsSecond = first.values.contains { $0.hasCpu && !$0.cpu.hasUsageNanoCores }
      if needsSecond { try await Task.sleep(for: .milliseconds(1100)) }
      let second = needsSecond ? try await Self.ask(connection) : first
      return inventory.containers.compactMap { container -> Shown? in
        guard container.state == .containerRunning, let stats = second[container.id] else { return nil }
        return Shown(
          container: container, sandbox: inventory.sandbox(of: container), stats: stats,
          rate: Self.rate(first[container.id]?.cpu, stats.cpu))
      }
    }
    var table = Table("NAMESPACE", "POD", "CONTAINER", "CPU", "MEMORY", "DISK", "INODES", "ID")
    for one in shown {
      table.add(
        Table.Cell(one.sandbox?.metadata.namespace ?? ""), Table.Cell(one.sandbox?.metadata.name ?? ""),
        Table.Cell(one.container.metadata.name), Table.Cell(one.rate.map { "\(($0 + 500_000) / 1_000_000)m" } ?? ""),
        Self.size(one.stats.hasMemory, one.stats.memory.workingSetBytes),
        Self.size(one.stats.writableLayer.hasUsedBytes, one.stats.writableLayer.usedBytes),
        Table.Cell(one.stats.writableLayer.hasInodesUsed ? "\(one.stats.writableLayer.inodesUsed.value)" : ""),
        Table.Cell(Humane.shortID(one.container.id)))
    }
    try output.print(.list(shown.map(Self.value)), table: table)
  }

  private static func ask(_ connection: RuntimeConnection) async throws -> [String: Runtime_V1_ContainerStats] {
    let stats = try await connection.call("ask what containers use", deadline: .seconds(30)) { connection, options in
      try await connection.runtime.listContainerStats(.init(), options: options).stats
    }
    return Dictionary(stats.map { ($0.attributes.id, $0) }, uniquingKeysWith: { $1 })
  }

  /// The runtime's own, else from two readings.
  static func rate(_ before: Runtime_V1_CpuUsage?, _ now: Runtime_V1_CpuUsage) -> UInt64? {
    if now.hasUsageNanoCores { return now.usageNanoCores.value }
    guard let before, before.hasUsageCoreNanoSeconds, now.timestamp > before.timestamp,
      now.usageCoreNanoSeconds.value >= before.usageCoreNanoSeconds.value
    else { return nil }
    let used = Double(now.usageCoreNanoSeconds.value - before.usageCoreNanoSeconds.value)
    return UInt64(used * 1e9 / Double(now.timestamp - before.timestamp))
  }

  private static func size(_ isKnown: Bool, _ bytes: Runtime_V1_UInt64Value) -> Table.Cell {
    Table.Cell(isKnown ? Humane.size(bytes: bytes.value) : "")
  }

  private static func value(_ one: Shown) -> Value {
    func number(_ isKnown: Bool, _ number: Runtime_V1_UInt64Value) -> Value {
      isKnown ? .int(Int64(clamping: number.value)) : .null
    }
    let (cpu, memory, layer) = (one.stats.cpu, one.stats.memory, one.stats.writableLayer)
    return .record([
      "id": .string(one.container.id), "name": .string(one.container.metadata.name),
      "pod": .string(one.sandbox?.metadata.name ?? ""), "namespace": .string(one.sandbox?.metadata.namespace ?? ""),
      "cpuNanoCores": one.rate.map { .int(Int64(clamping: $0)) } ?? .null,
      "cpuNanoseconds": number(cpu.hasUsageCoreNanoSeconds, cpu.usageCoreNanoSeconds),
      "memoryWorkingSetBytes": number(memory.hasWorkingSetBytes, memory.workingSetBytes),
      "memoryUsageBytes": number(memory.hasUsageBytes, memory.usageBytes),
      "diskBytes": number(layer.hasUsedBytes, layer.usedBytes),
      "inodes": number(layer.hasInodesUsed, layer.inodesUsed),
    ])
  }
}
