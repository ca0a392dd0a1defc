internal import Glibc
internal import SystemPackage

extension Cgroup {
  /// Kills every process in this group and below it, and those that they start meanwhile. Does not wait for their end
  /// where the kernel kills the whole group by itself (`cgroup.kill`).
  ///
  /// Idempotent; a group that is not there has no processes. Without `cgroup.kill` it blocks its thread.
  /// - Throws: ETIMEDOUT when a group without `cgroup.kill` kept making processes for `deadline`.
  package func kill(deadline: Duration = .seconds(5)) throws(SystemCallError) {
    if let unifiedDirectory {
      do {
        return try writeKernelFile("\(unifiedDirectory)/cgroup.kill", "1")
      } catch {
        // Before Linux 5.14, or the group is not there: then the rounds find nothing.
        guard error.errno == .noSuchFileOrDirectory || error.errno == Errno(rawValue: ENODEV) else { throw error }
      }
    }
    let end = ContinuousClock.now + deadline
    while try killRound() {
      guard ContinuousClock.now < end else {
        let pids = try processes()
        throw SystemCallError(call: "kill", errno: .timedOut, subject: "\(pids.count) processes of cgroup \(path)")
      }
      // What was told dies meanwhile; a fork that the round missed is there in the next.
      _ = poll(nil, 0, 1)
    }
  }

  /// Stops the group where it can, so that nothing forks, and signals whoever is in it.
  ///
  /// - Returns: whether somebody was running.
  private func killRound() throws(SystemCallError) -> Bool {
    let freezer = directory(of: "freezer")
    if let freezer { Self.freeze(freezer) }
    // The signal waits in a frozen process until it is thawed.
    defer { if let freezer { try? writeKernelFile("\(freezer)/freezer.state", "THAWED") } }
    var held: [HeldProcess] = []
    for pid in try processes() {
      do {
        held.append(HeldProcess(try Pidfd.open(pid: pid)))
      } catch {
        // EINVAL: the number of a thread, not of a process.
        guard error.errno == .noSuchProcess || error.errno == .invalidArgument else { throw error }
      }
    }
    // A number may have been another's by the time it was opened; who is a member now is the one that we hold.
    let members = Set(try processes())
    var wasRunning = false
    for one in held where members.contains(one.pidfd.pid) && !one.pidfd.hasExited() {
      wasRunning = true
      do {
        try one.pidfd.send(signal: SIGKILL)
      } catch {
        guard error.errno == .noSuchProcess else { throw error }
      }
    }
    return wasRunning
  }

  /// v1's freezer takes a moment; one that does not come to rest is left, and the rounds go on without it.
  private static func freeze(_ directory: String) {
    let path = "\(directory)/freezer.state"
    for _ in 0..<20 {
      guard (try? writeKernelFile(path, "FROZEN")) != nil else { return }
      if let state = try? readSmallFile(path, limit: 64), state.starts(with: "FROZEN".utf8) { return }
      _ = poll(nil, 0, 1)
    }
  }

  /// A pidfd in an array.
  private final class HeldProcess: Sendable {
    let pidfd: Pidfd
    init(_ pidfd: consuming Pidfd) { self.pidfd = pidfd }
  }
}
