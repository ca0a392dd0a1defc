import CRIProtocol
import RuntimeModel
import SystemPackage
import Testing

@testable import CRIServer
@testable import LinuxSystem

struct ResourceChangeTests {
  private typealias Resources = Runtime_V1_LinuxContainerResources

  private func change(
    _ current: (inout Resources) -> Void, _ update: (inout Resources) -> Void
  ) throws -> ResourceChange {
    var (old, new) = (Resources(), Resources())
    current(&old)
    update(&new)
    return try ResourceChange(new, of: old, prefix: "linux.")
  }

  @Test func `what the update does not give is neither changed nor written`() throws {
    let change = try change {
      $0.cpuShares = 512
      $0.memoryLimitInBytes = 1000
      $0.oomScoreAdj = 5
      $0.cpusetCpus = "0-1"
    } _: {
      $0.cpusetCpus = "1"
    }
    #expect(change.resources.cpuShares == 512 && change.resources.memoryLimitInBytes == 1000)
    #expect(change.resources.cpusetCpus == "1" && change.resources.oomScoreAdj == 5)
    #expect(change.limits.cpuShares == 0 && change.limits.memoryLimit == 0 && change.oomScore == nil)
    #expect(change.limits.cpusetCpus == "1")
  }

  @Test func `period and quota are written together, and so are memory and swap`() throws {
    let bandwidth = try change {
      ($0.cpuPeriod, $0.cpuQuota) = (50_000, 10_000)
    } _: {
      $0.cpuQuota = 20_000
    }
    #expect(bandwidth.limits.cpuPeriod == 50_000 && bandwidth.limits.cpuQuota == 20_000)
    let memory = try change {
      ($0.memoryLimitInBytes, $0.memorySwapLimitInBytes) = (100, 300)
    } _: {
      $0.memoryLimitInBytes = 200
    }
    #expect(memory.limits.memoryLimit == 200 && memory.limits.memorySwapLimit == 300)
  }

  @Test func `swap that unified gave stays at another limit of memory`() throws {
    let kept = try change {
      $0.memoryLimitInBytes = 100
      $0.unified = ["memory.swap.max": "50", "pids.max": "7"]
    } _: {
      $0.memoryLimitInBytes = 200
    }
    #expect(kept.limits.unified == ["memory.swap.max": "50"])
    let given = try change {
      $0.unified = ["memory.swap.max": "50"]
    } _: {
      $0.memoryLimitInBytes = 200
      $0.unified = ["memory.swap.max": "60"]
    }
    #expect(given.limits.unified == ["memory.swap.max": "60"] && given.resources.unified == given.limits.unified)
  }

  @Test func `who had no swap has none at another limit; a swap limit that was asked for must still fit`() throws {
    let none = try change {
      ($0.memoryLimitInBytes, $0.memorySwapLimitInBytes) = (100, 100)
    } _: {
      $0.memoryLimitInBytes = 200
    }
    #expect(none.resources.memorySwapLimitInBytes == 200)
    let unset = try change {
      $0.memoryLimitInBytes = 100
    } _: {
      $0.memoryLimitInBytes = 200
    }
    #expect(unset.resources.memorySwapLimitInBytes == 0 && unset.limits.memorySwapLimit == 0)
    #expect {
      try change {
        ($0.memoryLimitInBytes, $0.memorySwapLimitInBytes) = (100, 150)
      } _: {
        $0.memoryLimitInBytes = 200
      }
    } throws: { error in
      "\(error)" == "linux.memory_swap_limit_in_bytes 150 is below memory_limit_in_bytes 200"
    }
  }

  @Test func `huge pages by size, unified by key`() throws {
    func page(_ size: String, _ limit: UInt64) -> Runtime_V1_HugepageLimit {
      var page = Runtime_V1_HugepageLimit()
      (page.pageSize, page.limit) = (size, limit)
      return page
    }
    let change = try change {
      $0.hugepageLimits = [page("2MB", 0), page("1GB", 0)]
      $0.unified = ["memory.high": "1", "memory.low": "2"]
    } _: {
      $0.hugepageLimits = [page("2MB", 4)]
      $0.unified = ["memory.high": "3"]
    }
    #expect(change.resources.hugepageLimits == [page("1GB", 0), page("2MB", 4)])
    #expect(change.resources.unified == ["memory.high": "3", "memory.low": "2"])
    #expect(change.limits.hugepages.count == 1 && change.limits.unified == ["memory.high": "3"])
  }

  @Test(
    arguments: [
      (.invalidArgument, .invalidArgument), (.outOfRange, .invalidArgument), (.resourceBusy, .failedPrecondition),
      (.noSuchFileOrDirectory, .failedPrecondition), (.ioError, .internalError),
    ] as [(Errno, RuntimeModel.RuntimeError.Code)])
  func `whose fault a refused limit is`(errno: Errno, code: RuntimeModel.RuntimeError.Code) {
    let cause = SystemCallError(call: "write", errno: errno, subject: "/cgroup/cpu.max (value 1)")
    let error = RuntimeModel.RuntimeError(LimitError(field: "cpu_quota", cause: cause), prefix: "linux.")
    #expect(error.code == code && error.message.hasPrefix("linux.cpu_quota: write /cgroup/cpu.max"))
  }
}

struct ProcessorHistoryTests {
  @Test func `a rate needs two readings, a second apart, of a time that has not gone back`() {
    let history = ProcessorHistory()
    let start = ContinuousClock.now
    #expect(history.rate(1_000, at: start) == nil)
    #expect(history.rate(2_000, at: start + .milliseconds(500)) == nil)
    // Half a processor since the first.
    #expect(history.rate(500_001_000, at: start + .seconds(1)) == 500_000_000)
    // Somebody else asks a moment later: the same base.
    #expect(history.rate(500_001_000, at: start + .milliseconds(1500)) == 333_333_333)
    #expect(history.rate(1_500_001_000, at: start + .seconds(2)) == 1_000_000_000)
    // Started anew, or read as a sum of fewer groups.
    #expect(history.rate(5, at: start + .seconds(4)) == nil)
    #expect(history.rate(1_000_000_005, at: start + .seconds(5)) == 1_000_000_000)
    // Too long ago to be a rate of now.
    #expect(history.rate(2_000_000_005, at: start + .seconds(500)) == nil)
  }

  @Test func `parts add up, and what one does not know the sum does not`() {
    var (one, other) = (CgroupUsage(), CgroupUsage())
    one.processorTime = 5
    #expect(CgroupUsage(sum: [one, other]).processorTime == 5)
    #expect(CgroupUsage(sum: [one, other]).memory == nil)
    let memory = CgroupUsage.Memory(
      usage: 10, workingSet: 8, available: 100, anonymous: 4, pageFaults: 1, majorPageFaults: nil, files: 0)
    (one.memory, other.memory) = (memory, memory)
    other.processorTime = 7
    let sum = CgroupUsage(sum: [one, other, CgroupUsage()])
    #expect(sum.processorTime == 12 && sum.memory?.usage == 20 && sum.memory?.available == 0)
    #expect(sum.memory?.anonymous == 8 && sum.memory?.majorPageFaults == nil)
  }
}
