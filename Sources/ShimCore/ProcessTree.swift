import CLinux

/// A process and what it started, by /proc/PID/task/TID/children: for an exec that has no cgroup of its own.
enum ProcessTree {
  /// Kills the process, its process group (it is a session's leader) and its descendants that still have their parents.
  /// The process must not have been reaped.
  static func kill(_ root: Int32) {
    guard root > 1 else { return }
    // Stopped first, so that the tree stands still while it is read.
    _ = CLinux.kill(root, SIGSTOP)
    var found: [Int32] = [root]
    var next = 0
    while next < found.count, found.count < 65536 {
      for child in children(of: found[next]) where !found.contains(child) {
        _ = CLinux.kill(child, SIGSTOP)
        found.append(child)
      }
      next += 1
    }
    _ = CLinux.kill(-root, SIGKILL)
    for pid in found { _ = CLinux.kill(pid, SIGKILL) }
  }

  private static func children(of pid: Int32) -> [Int32] {
    let tasks = "/proc/\(pid)/task"
    guard let directory = tasks.withCString({ opendir($0) }) else { return [] }
    defer { closedir(directory) }
    var found: [Int32] = []
    while let entry = readdir(directory) {
      guard let content = readSmallFile("\(tasks)/\(entryName(entry))/children", limit: 1 << 20) else { continue }
      found.append(contentsOf: decimals(content[...]).map { Int32(truncatingIfNeeded: $0) })
    }
    return found
  }
}
