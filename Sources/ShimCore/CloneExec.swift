import CLinux
import CShimMessages

/// Clones a further process into a running container: its namespaces and root, the exec's own cgroup, and the same
/// last steps as the container's first process.
func cloneExec(
  _ request: UnsafePointer<Swiftlet__Shim__V1__ExecSyncRequest>, stdio: Stdio, taskPidfd: Int32, pod: Pod
) -> CloneOutcome {
  do throws(StepFailure) {
    let node = try Node.current()
    guard let process = request.pointee.process else {
      throw StepFailure(step: "request", errno: EINVAL, subject: "process is required")
    }
    var unheard: [String] = []
    let prepared = try Preparation(process, node, &unheard)
    var birth = Birth(unified: UnsafePointer(request.pointee.cgroup?.pointee.unified))
    birth.pidNamespaceOf = taskPidfd
    return clone(birth, node) { () throws(StepFailure) -> Never in
      try joinCgroups(request.pointee.cgroup)
      if prepared.setsScore, pod.users != nil { try prepared.writeScore(node) }
      let scoreFile = prepared.setsScore && pod.users == nil ? try openScoreFile(node) : -1
      try leaveSession()
      var joined = clinux_clone_newns | clinux_clone_newipc | clinux_clone_newuts | clinux_clone_newnet
      if hasUnified(request.pointee.cgroup) { joined |= clinux_clone_newcgroup }
      try require(clinux_setns(taskPidfd, joined), "join namespaces", on: request.pointee.container_id)
      if let users = pod.users { try enter(users) }
      _ = umask(0)
      let root = ContainerRoot(
        descriptor: try require(clinux_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0), "open root", "/"))
      let directory = try root.place(process.pointee.cwd, .directory, "working directory")
      let identity = prepared.identity(stdio, directory, scoreFile)
      try become(.command(arguments: prepared.arguments(), environment: prepared.environment()), as: identity, node)
    }
  } catch {
    return CloneOutcome(pid: -1, pidfd: -1, status: -1, failure: error)
  }
}
