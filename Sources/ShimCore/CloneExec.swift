import CLinux
import CShimMessages

/// Clones a further process into a running container: its namespaces and root, the exec's own cgroup, and the same
/// last steps as the container's first process.
/// - Parameter stdio: stays the caller's; the child takes copies, and the null device for what is -1.
func cloneExec(
  _ process: UnsafePointer<Swiftlet__Shim__V1__Process>, _ cgroup: UnsafePointer<Swiftlet__Shim__V1__Cgroup>?,
  stdio: Stdio, in task: ShimTask, pod: Pod
) -> CloneOutcome {
  do throws(StepFailure) {
    let node = try Node.current()
    var stdio = stdio
    if stdio.input < 0 { stdio.input = node.null }
    if stdio.output < 0 { stdio.output = node.null }
    if stdio.error < 0 { stdio.error = node.null }
    let taskPidfd = task.pidfd
    var unheard: [String] = []
    let prepared = try Preparation(process, node, &unheard)
    var birth = Birth(unified: UnsafePointer(cgroup?.pointee.unified))
    birth.pidNamespaceOf = taskPidfd
    return clone(birth, node) { () throws(StepFailure) -> Never in
      try joinCgroups(cgroup)
      if prepared.setsScore, pod.users != nil { try prepared.writeScore(node) }
      let scoreFile = prepared.setsScore && pod.users == nil ? try openScoreFile(node) : -1
      try leaveSession()
      var joined = clinux_clone_newns | clinux_clone_newipc | clinux_clone_newuts | clinux_clone_newnet
      if hasUnified(cgroup) { joined |= clinux_clone_newcgroup }
      try require(clinux_setns(taskPidfd, joined), "join namespaces", task.id)
      if let users = pod.users { try enter(users) }
      _ = umask(0)
      let root = ContainerRoot(
        descriptor: try require(clinux_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0), "open root", "/"))
      let directory = try root.place(process.pointee.cwd, .directory, "working directory")
      let identity = prepared.identity(try prepared.streams(stdio), directory, scoreFile)
      try become(.command(arguments: prepared.arguments(), environment: prepared.environment()), as: identity, node)
    }
  } catch {
    return CloneOutcome(pid: -1, pidfd: -1, status: -1, failure: error)
  }
}
