import CLinux

// Clones into a pod's user namespace. It owns every namespace that is made by a process in it, and such a process can do
// nothing on the node any more: so one that stays outside prepares, and another one, born inside, lives on.

/// Joins the user namespace, with all of its capabilities, as its user 0.
func enter(_ users: PodUsers) throws(StepFailure) {
  try require(clinux_setns(users.descriptor, clinux_clone_newuser), "join user namespace")
  try require(clinux_setresgid(0), "join user namespace", "gid 0")
  try require(clinux_setresuid(0), "join user namespace", "uid 0")
  try hide()
}

/// Clones as `clone` does, with `birth.flags`' namespaces owned by the user namespace.
/// - Parameter before: what is done on the node's side, by a process that the child is a copy of.
func cloneInside(
  _ users: PodUsers, _ birth: Birth, _ node: Node, before: () throws(StepFailure) -> Void,
  _ body: () throws(StepFailure) -> Never
) throws(StepFailure) -> CloneOutcome {
  var (reader, writer) = try makePipe("status pipe")
  defer { closeAndForget(&writer) }
  do {
    let child = try bearInside(users, birth, node, status: (reader, writer), before: before, body)
    return CloneOutcome(pid: child.pid, pidfd: child.pidfd, status: reader, failure: nil)
  } catch {
    closeAndForget(&reader)
    throw error
  }
}

/// By way of a child that joins the user namespace and ends as soon as it has made the child proper, whose parent is this
/// process (CLONE_PARENT); this process sleeps so long.
func bearInside(
  _ users: PodUsers, _ birth: Birth, _ node: Node, status: (reader: Int32, writer: Int32),
  before: () throws(StepFailure) -> Void, _ body: () throws(StepFailure) -> Never
) throws(StepFailure) -> (pid: Int32, pidfd: Int32) {
  let cgroup = try openUnified(birth)
  defer { if cgroup >= 0 { _ = close(cgroup) } }
  var numbers = try makePipe("pipe")
  defer {
    closeAndForget(&numbers.reader)
    closeAndForget(&numbers.writer)
  }
  var pidfd: Int32 = -1
  let middle = clinux_clone3(clinux_clone_vfork | clinux_clone_clear_sighand, &pidfd, cgroup)
  if middle == 0 {
    runChild(status.writer) { () throws(StepFailure) -> Never in
      try before()
      if birth.pidNamespaceOf >= 0 {
        try require(clinux_setns(birth.pidNamespaceOf, clinux_clone_newpid), "join pid namespace")
      }
      try enter(users)
      let flags = birth.flags | clinux_clone_parent | clinux_clone_clear_sighand
      var number = try require(clinux_clone3(flags, &pidfd, -1), "clone")
      if number == 0 { runChild(status.writer, body) }
      // In a pipe there is room for a number.
      _ = withUnsafeBytes(of: &number) { clinux_write(numbers.writer, $0.baseAddress, $0.count) }
      _exit(0)
    }
  }
  try require(middle, "clone")
  closeAndForget(&pidfd)
  _ = clinux_reap(middle)
  closeAndForget(&numbers.writer)
  var number: Int32 = 0
  let got = withUnsafeMutableBytes(of: &number) { read(numbers.reader, $0.baseAddress, $0.count) }
  guard got == MemoryLayout<Int32>.size, number > 0 else { throw readFailure(status.reader) }
  let child = clinux_pidfd_open(number)
  if child < 0 { _ = kill(number, SIGKILL) }
  return (number, try require(child, "open pidfd"))
}

/// What the one between has said before it ended; no process made has the pipe's other end any more but this one.
private func readFailure(_ reader: Int32) -> StepFailure {
  _ = clinux_fcntl(reader, F_SETFL, Int(O_NONBLOCK))
  var bytes = [UInt8](repeating: 0, count: 2048)
  let count = bytes.withUnsafeMutableBytes { read(reader, $0.baseAddress, $0.count) }
  bytes.removeLast(bytes.count - max(0, count))
  return readStepFailure(bytes) ?? StepFailure(step: "clone", errno: EIO, subject: "")
}
