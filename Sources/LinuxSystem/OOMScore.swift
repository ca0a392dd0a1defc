internal import Glibc
internal import SystemPackage

extension Cgroup {
  /// Gives every process of this group, and below it, an oom_score_adj (proc_pid_oom_score_adj(5)).
  ///
  /// - Parameter score: -1000 to 1000.
  /// - Returns: the pids of those that kept theirs: a lower one needs CAP_SYS_RESOURCE.
  /// - Throws: what reading the group's processes met.
  package func setOOMScore(_ score: Int32) throws(SystemCallError) -> [Int32] {
    var refused: [Int32] = []
    for pid in try processes() {
      guard let directory = try? OwnedFD.open("/proc/\(pid)", flags: O_RDONLY | O_DIRECTORY) else { continue }
      directory.withRawDescriptor { raw in
        // The directory is this process's for good; another's that got the number would not be in the group.
        guard isMember(raw), !Self.write("\(score)", "oom_score_adj", in: raw) else { return }
        if errno == EACCES || errno == EPERM { refused.append(pid) }
      }
    }
    return refused
  }

  private func isMember(_ process: Int32) -> Bool {
    let file = openat(process, "cgroup", O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    let text = String(decoding: (try? readAll(file, limit: 65_536, subject: "cgroup")) ?? [], as: UTF8.self)
    return text.split(separator: "\n").contains { $0.hasSuffix(":\(path)") || $0.contains(":\(path)/") }
  }

  private static func write(_ text: String, _ name: String, in directory: Int32) -> Bool {
    let file = openat(directory, name, O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    return text.withCString { Glibc.write(file, $0, strlen($0)) } >= 0
  }
}
