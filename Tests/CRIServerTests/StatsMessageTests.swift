import CRIProtocol
import Testing

@testable import CRIServer
@testable import LinuxSystem

/// What the stats messages make of what was read (CRI.md 6).
@Suite struct StatsMessageTests {
  @Test func pressureIsInItsOwnField() throws {
    var usage = CgroupUsage()
    usage.processorTime = 1
    usage.memory = .init(usage: 1, workingSet: 1, available: 0, files: 0)
    usage.processorPressure = Self.pressure(total: 10)
    usage.memoryPressure = Self.pressure(total: 20)
    usage.ioPressure = Self.pressure(total: 30)
    // Nanoseconds; the kernel's files have microseconds.
    #expect(usage.cpu(ProcessorHistory(), 7)?.psi == Self.told(total: 10_000))
    #expect(usage.memoryUsage(7)?.psi == Self.told(total: 20_000))
    #expect(usage.ioUsage(7)?.psi == Self.told(total: 30_000))
    #expect(usage.ioUsage(7)?.timestamp == 7)
  }

  private static func pressure(total: Int) -> Pressure? {
    let line = "avg10=1.50 avg60=0.25 avg300=0.05 total="
    return Pressure(Array("some \(line)\(total)\nfull \(line)\(total + 1)\n".utf8))
  }

  private static func told(total: UInt64) -> Runtime_V1_PsiStats {
    var psi = Runtime_V1_PsiStats()
    let lines: [(WritableKeyPath<Runtime_V1_PsiStats, Runtime_V1_PsiData>, UInt64)] = [
      (\.some, total), (\.full, total + 1000),
    ]
    for (place, total) in lines {
      psi[keyPath: place].total = total
      psi[keyPath: place].avg10 = 1.5
      psi[keyPath: place].avg60 = 0.25
      psi[keyPath: place].avg300 = 0.05
    }
    return psi
  }

  @Test(arguments: [
    (["net1", "eth0", "net2"], "eth0", ["net1", "net2"]), (["net1", "net2"], "net1", ["net2"]), (["eth0"], "eth0", []),
  ])
  func theDefaultInterfaceIsNotAmongTheOthers(_ names: [String], _ main: String, _ others: [String]) throws {
    let counters = names.enumerated().map { index, name in
      let base = UInt64(index) * 10
      return InterfaceCounters(
        name: name, receivedBytes: base + 1, receiveErrors: base + 2, sentBytes: base + 3, sendErrors: base + 4)
    }
    let usage = try #require(Runtime_V1_NetworkUsage(counters))
    #expect(usage.defaultInterface.name == main && usage.interfaces.map(\.name) == others)
    let first = try #require(([usage.defaultInterface] + usage.interfaces).first { $0.name == names[0] })
    #expect(first.rxBytes.value == 1 && first.rxErrors.value == 2 && first.txBytes.value == 3)
    #expect(first.txErrors.value == 4)
    #expect(Runtime_V1_NetworkUsage([]) == nil)
  }
}
