import LinuxSystem

/// What a process that does not end is doing, for errors.
struct ProcessState: Sendable, CustomStringConvertible {
  let description: String

  /// `pid 123 (cat) in state D at fuse_simple_request`, as far as procfs tells.
  init(pid: Int32) {
    guard let stat = try? HostFiles.read("/proc/\(pid)/stat"), let end = stat.lastIndex(of: ")"),
      let start = stat.firstIndex(of: "(")
    else {
      description = "pid \(pid), which has just gone"
      return
    }
    let name = stat[stat.index(after: start)..<end]
    let state = stat[end...].dropFirst(2).prefix(1)
    let place = (try? HostFiles.read("/proc/\(pid)/wchan")) ?? ""
    description = "pid \(pid) (\(name)) in state \(state)" + (["", "0"].contains(place) ? "" : " at \(place)")
  }
}
