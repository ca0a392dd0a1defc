import CLinux
import CShimMessages

/// Where a container's or exec's processes are in the cgroup file systems.
struct CgroupPaths {
  /// v1 and hybrid: one of each hierarchy. Pure v2: the one.
  let directories: [String]
  private let memoryEvents: String

  /// "oom_kill ", and not "oom_kill_disable ".
  private static let killsKey: [UInt8] = [0x6f, 0x6f, 0x6d, 0x5f, 0x6b, 0x69, 0x6c, 0x6c, 0x20]

  init(_ message: UnsafePointer<Swiftlet__Shim__V1__Cgroup>?) {
    var directories: [String] = []
    if let message {
      if isSet(message.pointee.unified) { directories.append(text(message.pointee.unified)) }
      for index in 0..<message.pointee.n_directories {
        directories.append(text(message.pointee.directories[index]))
      }
      memoryEvents = text(message.pointee.memory_events)
    } else {
      memoryEvents = ""
    }
    self.directories = directories
  }

  /// Whether killing this group leaves `other` alone: it has directories, and none of them is one of the other's.
  func isApart(from other: CgroupPaths) -> Bool {
    guard !directories.isEmpty else { return false }
    for mine in directories {
      for theirs in other.directories where mine.matches(theirs) { return false }
    }
    return true
  }

  /// How many processes the kernel has killed here for want of memory; nil when nobody counts.
  /// v2: memory.events, v1: memory.oom_control; both have a line `oom_kill N`.
  func memoryKills() -> UInt64? {
    guard !memoryEvents.utf8.isEmpty, let content = readSmallFile(memoryEvents) else { return nil }
    for line in content.split(separator: 10) where line.starts(with: CgroupPaths.killsKey) {
      return decimals(line).first
    }
    return nil
  }

  /// Kills whatever is there now. With cgroup.kill (v2 since 5.14, and the hybrid's v2 tree) that is all there is to do.
  /// - Returns: false when it was done one process at a time and should be done again until `isEmpty`.
  func kill() -> Bool {
    for directory in directories where writeKernelFile(directory + "/cgroup.kill", "1") { return true }
    var frozen: String?
    for directory in directories where writeKernelFile(directory + "/freezer.state", "FROZEN") {
      frozen = directory
    }
    signal(SIGKILL)
    if let frozen { _ = writeKernelFile(frozen + "/freezer.state", "THAWED") }
    return isEmpty
  }

  /// Sends a signal to each process.
  func signal(_ number: Int32) {
    for pid in processes() where pid > 1 { _ = CLinux.kill(pid, number) }
  }

  var isEmpty: Bool { processes().isEmpty }

  /// The pids are the node's; a zombie is not among them. With the groups below: an exec's, and what a container made.
  private func processes() -> [Int32] {
    for directory in directories {
      var found: [Int32] = []
      if CgroupPaths.collect(directory, depth: 0, &found) { return found }
    }
    return []
  }

  private static let deepest = 32

  /// False when there is no such group.
  private static func collect(_ directory: String, depth: Int, _ found: inout [Int32]) -> Bool {
    guard let content = readSmallFile(directory + "/cgroup.procs", limit: 1 << 20) else { return false }
    found.append(contentsOf: decimals(content[...]).map { Int32(truncatingIfNeeded: $0) })
    guard depth < deepest, let folder = directory.withCString({ opendir($0) }) else { return true }
    defer { closedir(folder) }
    while let entry = readdir(folder) {
      let name = entryName(entry)
      guard entry.pointee.d_type == UInt8(DT_DIR), !name.matches("."), !name.matches("..") else { continue }
      _ = collect("\(directory)/\(name)", depth: depth + 1, &found)
    }
    return true
  }
}

/// The decimal numbers in a text, whatever is between them.
func decimals(_ bytes: ArraySlice<UInt8>) -> [UInt64] {
  var numbers: [UInt64] = []
  var current: UInt64?
  for byte in bytes {
    if byte >= 0x30, byte <= 0x39 {
      current = (current ?? 0) &* 10 &+ UInt64(byte - 0x30)
    } else if let number = current {
      numbers.append(number)
      current = nil
    }
  }
  if let number = current { numbers.append(number) }
  return numbers
}
