internal import Glibc

/// What a group uses at one moment. A part that the node does not count, or whose file has just gone, is nil.
package struct CgroupUsage: Sendable, Equatable {
  package struct Memory: Sendable, Equatable {
    /// Bytes, page cache included.
    package var usage: UInt64
    /// Without file pages that nobody has touched for long.
    package var workingSet: UInt64
    /// What is left below the group's own limit; 0 without one.
    package var available: UInt64
    /// Anonymous memory; nil like the rest when `memory.stat` cannot be read.
    package var anonymous: UInt64?
    package var pageFaults: UInt64?
    package var majorPageFaults: UInt64?
    /// Bytes of file pages, which the kernel takes back when it must.
    package var files: UInt64
  }

  package struct Swap: Sendable, Equatable {
    package var usage: UInt64
    /// What is left of the group's limit and of the node's swap.
    package var available: UInt64
  }

  /// Nanoseconds on all processors since the group was made.
  package var processorTime: UInt64?
  package var memory: Memory?
  package var swap: Swap?
  package var processorPressure: Pressure?
  package var memoryPressure: Pressure?
  package var ioPressure: Pressure?

  package init() {}
}

/// A pressure file (PSI, Linux's Documentation/accounting/psi.rst): how long tasks waited for a resource.
package struct Pressure: Sendable, Equatable {
  package struct Line: Sendable, Equatable {
    /// Percent of the last 10, 60 and 300 seconds.
    package var average10 = 0.0
    package var average60 = 0.0
    package var average300 = 0.0
    /// Nanoseconds.
    package var total: UInt64 = 0
  }

  /// At least one task waited.
  package var some: Line?
  /// All waited at once.
  package var full: Line?

  /// - Returns: nil when there is neither line in the kernel's form,
  ///   `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
  init?(_ content: [UInt8]) {
    for line in content.split(separator: UInt8(ascii: "\n")) {
      guard let parsed = Line(line) else { continue }
      if line.starts(with: "some ".utf8) { some = parsed }
      if line.starts(with: "full ".utf8) { full = parsed }
    }
    if some == nil && full == nil { return nil }
  }
}

extension Pressure.Line {
  /// Byte by byte: a list of all containers' usage parses hundreds of these.
  fileprivate init?(_ line: ArraySlice<UInt8>) {
    var hundredths: [UInt64] = []
    var rest = line
    while let equals = rest.firstIndex(of: UInt8(ascii: "=")) {
      rest = rest[(equals + 1)...]
      var value: UInt64 = 0
      let number = rest.prefix { $0 != UInt8(ascii: " ") }
      for byte in number where byte != UInt8(ascii: ".") {
        guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
        value = value &* 10 &+ UInt64(byte - UInt8(ascii: "0"))
      }
      hundredths.append(value)
      rest = rest[number.endIndex...]
    }
    guard hundredths.count == 4 else { return nil }
    average10 = Double(hundredths[0]) / 100
    average60 = Double(hundredths[1]) / 100
    average300 = Double(hundredths[2]) / 100
    total = hundredths[3] &* 1000
  }
}

extension Cgroup {
  /// Reads what this group uses; never fails as a whole. Some ten small files of the kernel's.
  ///
  /// - Parameter nodeSwap: bytes of swap that the node has, ``nodeSwap()``.
  package func usage(nodeSwap: UInt64) -> CgroupUsage {
    var usage = CgroupUsage()
    usage.processorTime = processorTime()
    if let directory = directory(of: "memory") {
      if hierarchy.kind == .unified {
        readUnifiedMemory(directory, nodeSwap, &usage)
      } else {
        readLegacyMemory(directory, nodeSwap, &usage)
      }
    }
    // The v2 tree counts pressure without any controller, and so beside v1's controllers, too.
    if let unifiedDirectory {
      usage.processorPressure = Self.content("\(unifiedDirectory)/cpu.pressure").flatMap(Pressure.init)
      usage.memoryPressure = Self.content("\(unifiedDirectory)/memory.pressure").flatMap(Pressure.init)
      usage.ioPressure = Self.content("\(unifiedDirectory)/io.pressure").flatMap(Pressure.init)
    }
    return usage
  }

  /// Processes and threads in this group and below; nil when nobody counts.
  package var tasks: UInt64? { directory(of: "pids").flatMap { Self.number("\($0)/pids.current") } }

  /// Bytes of swap space that the node has.
  package static func nodeSwap() -> UInt64 {
    let content = (try? readSmallFile("/proc/meminfo", limit: 65_536)) ?? []
    return (values(in: content, of: ["SwapTotal:"])[0] ?? 0) << 10
  }

  private func processorTime() -> UInt64? {
    if hierarchy.kind != .unified, let directory = directory(of: "cpuacct") {
      return Self.number("\(directory)/cpuacct.usage")
    }
    guard let unifiedDirectory, let stat = Self.content("\(unifiedDirectory)/cpu.stat") else { return nil }
    return Self.values(in: stat, of: ["usage_usec"])[0].map { $0 &* 1000 }
  }

  private func readLegacyMemory(_ directory: String, _ nodeSwap: UInt64, _ usage: inout CgroupUsage) {
    guard let used = Self.number("\(directory)/memory.usage_in_bytes") else { return }
    let stat = Self.content("\(directory)/memory.stat") ?? []
    let found = Self.values(
      in: stat,
      of: ["total_inactive_file", "total_rss", "total_pgfault", "total_pgmajfault", "total_active_file"])
    let limit = Self.number("\(directory)/memory.limit_in_bytes")
    usage.memory = CgroupUsage.Memory(used: used, limit: limit, found)
    let counted = "\(directory)/memory.memsw.usage_in_bytes"
    if nodeSwap == 0 { return usage.swap = Self.noSwap(counted) }
    guard let both = Self.number(counted),
      let most = Self.number("\(directory)/memory.memsw.limit_in_bytes")
    else { return }
    let swapped = both > used ? both - used : 0
    let allowed = most >= Self.unlimited ? nodeSwap : min(nodeSwap, most - min(most, limit ?? 0))
    usage.swap = CgroupUsage.Swap(usage: swapped, available: allowed - min(allowed, swapped))
  }

  private func readUnifiedMemory(_ directory: String, _ nodeSwap: UInt64, _ usage: inout CgroupUsage) {
    guard let used = Self.number("\(directory)/memory.current") else { return }
    let stat = Self.content("\(directory)/memory.stat") ?? []
    let found = Self.values(in: stat, of: ["inactive_file", "anon", "pgfault", "pgmajfault", "active_file"])
    usage.memory = CgroupUsage.Memory(used: used, limit: Self.number("\(directory)/memory.max"), found)
    let counted = "\(directory)/memory.swap.current"
    if nodeSwap == 0 { return usage.swap = Self.noSwap(counted) }
    guard let swapped = Self.number(counted) else { return }
    let allowed = min(nodeSwap, Self.number("\(directory)/memory.swap.max") ?? 0)
    usage.swap = CgroupUsage.Swap(usage: swapped, available: allowed - min(allowed, swapped))
  }

  /// On a node without swap nothing is read, only whether the kernel would count it.
  private static func noSwap(_ file: String) -> CgroupUsage.Swap? {
    access(file, F_OK) == 0 ? CgroupUsage.Swap(usage: 0, available: 0) : nil
  }

  /// Beyond this a limit is none; v1 has no other word for it.
  static let unlimited: UInt64 = 1 << 62

  private static func content(_ path: String) -> [UInt8]? { try? readSmallFile(path, limit: 65_536) }

  /// A file with one number; `max` is the greatest.
  private static func number(_ path: String) -> UInt64? {
    guard let bytes = content(path), let first = bytes.first else { return nil }
    if first == UInt8(ascii: "m") { return .max }
    return number(bytes[...])
  }

  /// The digits at the beginning.
  private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64? {
    var value: UInt64?
    for byte in bytes {
      guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { break }
      value = (value ?? 0) &* 10 &+ UInt64(byte - UInt8(ascii: "0"))
    }
    return value
  }

  /// The numbers behind some words of a file with a word and a number on each line.
  static func values(in content: [UInt8], of keys: [StaticString]) -> [UInt64?] {
    var found = [UInt64?](repeating: nil, count: keys.count)
    var rest = content[...]
    while !rest.isEmpty {
      let line = rest.prefix { $0 != UInt8(ascii: "\n") }
      rest = rest[line.endIndex...].dropFirst()
      guard let space = line.firstIndex(of: UInt8(ascii: " ")) else { continue }
      for (index, key) in keys.enumerated() where found[index] == nil {
        let isKey = key.withUTF8Buffer { $0.count == space - line.startIndex && line.starts(with: $0) }
        if isKey { found[index] = number(line[space...].drop { $0 == UInt8(ascii: " ") }) }
      }
    }
    return found
  }
}

extension CgroupUsage.Memory {
  /// - Parameter found: inactive file pages, anonymous memory, faults, major faults, active file pages.
  fileprivate init(used: UInt64, limit: UInt64?, _ found: [UInt64?]) {
    usage = used
    workingSet = used - min(used, found[0] ?? 0)
    let limit = limit ?? .max
    available = limit >= Cgroup.unlimited ? 0 : limit - min(limit, workingSet)
    anonymous = found[1]
    pageFaults = found[2]
    majorPageFaults = found[3]
    files = (found[0] ?? 0) &+ (found[4] ?? 0)
  }
}
