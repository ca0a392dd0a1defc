import Glibc
import RuntimeModel
import Testing

@testable import LinuxSystem

/// What is read of cgroup files and procfs, from texts as kernels write them.
struct CgroupUsageTests {
  let scratch: ScratchDirectory

  init() throws {
    scratch = try ScratchDirectory()
    mkdir("\(scratch.path)/c", 0o755)
  }

  @Test func `v2`() throws {
    try scratch.write("c/cpu.stat", "usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\n")
    try scratch.write("c/memory.current", "10000\n")
    try scratch.write("c/memory.max", "30000\n")
    try scratch.write(
      "c/memory.stat", "anon 4000\nfile 5000\ninactive_file 1500\nactive_file 500\npgfault 77\npgmajfault 3\n")
    try scratch.write("c/memory.swap.current", "200\n")
    try scratch.write("c/memory.swap.max", "900\n")
    try scratch.write("c/pids.current", "5\n")
    try scratch.write(
      "c/memory.pressure",
      "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=99\n")
    let cgroup = CgroupHierarchy(controllers: [:], unifiedRoot: scratch.path).cgroup(at: "/c")
    let usage = cgroup.usage(nodeSwap: 1 << 40)
    #expect(usage.processorTime == 123_456_000)
    let memory = try #require(usage.memory)
    #expect(memory.usage == 10_000 && memory.workingSet == 8500 && memory.available == 21_500)
    #expect(memory.anonymous == 4000 && memory.pageFaults == 77 && memory.majorPageFaults == 3 && memory.files == 2000)
    #expect(usage.swap == CgroupUsage.Swap(usage: 200, available: 700))
    for limit in ["max\n", "8000\n"] {
      try scratch.write("c/memory.max", limit)
      #expect(cgroup.usage(nodeSwap: 0).memory?.available == 0, "no limit, or one below the working set")
    }
    #expect(cgroup.usage(nodeSwap: 500).swap?.available == 300)
    #expect(cgroup.usage(nodeSwap: 0).swap == CgroupUsage.Swap(usage: 0, available: 0))
    #expect(cgroup.tasks == 5)
    #expect(usage.memoryPressure?.some == Pressure.Line(average10: 1.5, average60: 0.25, total: 1_234_000))
    #expect(usage.memoryPressure?.full?.total == 99_000)
    #expect(usage.processorPressure == nil && usage.ioPressure == nil)
  }

  @Test func `v1, without a limit and without swap accounting`() throws {
    try scratch.write("c/cpuacct.usage", "987654321\n")
    try scratch.write("c/memory.usage_in_bytes", "10000\n")
    try scratch.write("c/memory.limit_in_bytes", "9223372036854771712\n")
    try scratch.write(
      "c/memory.stat",
      "rss 1\ninactive_file 2\ntotal_rss 4000\ntotal_pgfault 77\ntotal_pgmajfault 3\ntotal_inactive_file 12000\n")
    let roots = ["cpuacct": scratch.path, "memory": scratch.path]
    let cgroup = CgroupHierarchy(controllers: roots, unifiedRoot: nil).cgroup(at: "/c")
    let usage = cgroup.usage(nodeSwap: 1000)
    #expect(usage.processorTime == 987_654_321)
    let memory = try #require(usage.memory)
    #expect(memory.workingSet == 0, "more inactive pages than are charged: the two are not read at one moment")
    #expect(memory.available == 0 && memory.anonymous == 4000 && memory.majorPageFaults == 3)
    #expect(usage.swap == nil && cgroup.tasks == nil && usage.memoryPressure == nil)
    #expect(cgroup.usage(nodeSwap: 0).swap == nil)
    try scratch.write("c/memory.memsw.usage_in_bytes", "10300\n")
    try scratch.write("c/memory.memsw.limit_in_bytes", "9223372036854771712\n")
    #expect(cgroup.usage(nodeSwap: 1000).swap == CgroupUsage.Swap(usage: 300, available: 700))
  }

  @Test func `a group that is gone uses nothing, and is no error`() {
    let roots = ["cpuacct": scratch.path, "memory": scratch.path, "pids": scratch.path]
    for hierarchy in [
      CgroupHierarchy(controllers: [:], unifiedRoot: scratch.path),
      CgroupHierarchy(controllers: roots, unifiedRoot: scratch.path),
    ] {
      #expect(hierarchy.cgroup(at: "/gone").usage(nodeSwap: 1) == CgroupUsage())
    }
  }

  @Test(arguments: [
    "", "x", "some\n", "full avg10", "none avg10=1.0 total=5\n", "some avg10=a avg60=1 avg300=1 total=b\n",
  ])
  func `a pressure file in another form gives no nonsense`(text: String) {
    #expect(Pressure(Array(text.utf8)) == nil)
  }

  @Test func `interfaces of a namespace`() {
    let text = """
      Inter-|   Receive                                                |  Transmit
       face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
          lo:    9000      90    0    0    0     0          0         0     9000      90    0    0    0     0       0          0
        eth0: 1234567    1000    5    0    0     0          0         0  7654321     900    6    0    0     0       0          0
        odd
      """
    #expect(
      InterfaceCounters.parse(text) == [
        InterfaceCounters(
          name: "eth0", receivedBytes: 1_234_567, receiveErrors: 5, sentBytes: 7_654_321, sendErrors: 6)
      ])
    #expect(InterfaceCounters.parse("").isEmpty)
    #expect(InterfaceCounters.read(of: ProcessIdentity(pid: getpid(), startTime: 1)) == nil)
  }
}

/// Trees that somebody fills who would like us to look elsewhere, or for ever.
struct TreeUsageTests {
  let scratch: ScratchDirectory

  init() throws { scratch = try ScratchDirectory() }

  private func measure(limit: Int = 100_000, time: Duration = .seconds(20)) throws -> TreeUsage {
    try RootHandle.open(path: scratch.path).measure(limit: limit, deadline: .now + time)
  }

  @Test func `names of one file count once, links are not followed, odd names are looked into`() throws {
    #expect(try measure().inodes == 1)
    try scratch.write("file", String(repeating: "x", count: 100_000))
    link("\(scratch.path)/file", "\(scratch.path)/again")
    symlink("/usr", "\(scratch.path)/out")
    let odd = "\(scratch.path)/" + "od"
    mkdir(odd, 0o755)
    // Not UTF-8.
    let name: [UInt8] = Array(odd.utf8) + [0x2f, 0xff, 0xfe, 0]
    name.withUnsafeBufferPointer { bytes in
      bytes.withMemoryRebound(to: CChar.self) { _ = $0.baseAddress.map { mkdir($0, 0o755) } }
    }
    symlink("../../..", "\(odd)/up")
    let usage = try measure()
    // The root, the file, a link, `od`, the odd one in it and its link.
    #expect(usage.inodes == 6 && usage.isComplete)
    #expect((100_000..<200_000).contains(usage.bytes))
    rmdir(String(decoding: name.dropLast(), as: UTF8.self))
    name.withUnsafeBufferPointer { bytes in
      bytes.withMemoryRebound(to: CChar.self) { _ = $0.baseAddress.map { rmdir($0) } }
    }
  }

  @Test func `deeper than any path`() throws {
    let part = String(repeating: "d", count: 100)
    var here = try OwnedFD.open(scratch.path, flags: O_RDONLY | O_DIRECTORY)
    for _ in 0..<100 {
      here = try here.withRawDescriptor { (raw) throws(SystemCallError) in
        mkdirat(raw, part, 0o755)
        return OwnedFD(owning: openat(raw, part, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
      }
    }
    let usage = try measure()
    #expect(usage.inodes == 101 && usage.isComplete)
    let root = try OwnedFD.open(scratch.path, flags: O_RDONLY | O_DIRECTORY)
    try TreeRemoval.remove(Array(part.utf8), in: root, subject: "deep tree")
  }

  @Test func `it ends at its bounds, and says so`() throws {
    for index in 0..<50 { try scratch.write("f\(index)") }
    let counted = try measure(limit: 20)
    #expect(counted.inodes == 20 && !counted.isComplete)
    #expect(try !measure(time: .zero).isComplete)
    #expect(try measure().inodes == 51)
  }

  @Test func `it remembers no more than it may, and counts what it can`() throws {
    for index in 0..<50 {
      mkdir("\(scratch.path)/d\(index)", 0o755)
      try scratch.write("d\(index)/f")
      link("\(scratch.path)/d\(index)/f", "\(scratch.path)/d\(index)/g")
    }
    let root = try RootHandle.open(path: scratch.path)
    #expect(try root.measure(limit: 1000, deadline: .now + .seconds(20)).inodes == 101)
    let some = try root.measure(limit: 1000, memory: 1000, deadline: .now + .seconds(20))
    #expect(!some.isComplete && (51..<101).contains(some.inodes))
  }
}
