import CLinux
import CShimMessages

/// Clones a container's first process: into the pod's namespaces, a mount namespace and root of its own.
/// - Parameters:
///   - stdio: stays the caller's; the child takes copies.
///   - targetPidfd: the process whose PID namespace is joined in mode TARGET, or -1.
///   - warnings: what was clamped.
func cloneContainer(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>, stdio: Stdio, pod: Pod, targetPidfd: Int32,
  warnings: inout [String]
) -> CloneOutcome {
  do throws(StepFailure) {
    let node = try Node.current()
    guard let process = request.pointee.process, let rootfs = request.pointee.rootfs else {
      throw StepFailure(step: "request", errno: EINVAL, subject: "process and rootfs are required")
    }
    let prepared = try Preparation(process, node, &warnings)
    // One copy for this child, made here: a detached mount can only be copied in the namespace that it was made in.
    var shm: Int32 = -1
    if pod.shmMount >= 0, usesShm(request) {
      shm = try require(clinux_clone_tree(pod.shmMount, "", 0), "clone /dev/shm")
    }
    defer { if shm >= 0 { _ = close(shm) } }
    var birth = Birth(flags: clinux_clone_newns, unified: UnsafePointer(request.pointee.cgroup?.pointee.unified))
    try choosePidNamespace(request.pointee.namespaces, pod, targetPidfd, &birth)
    if let users = pod.users {
      let plan = ContainerPlan(
        request: request, rootfs: UnsafePointer(rootfs), process: UnsafePointer(process), prepared: prepared,
        stdio: stdio, pod: pod, shm: shm)
      return try cloneContainer(plan, inside: users, birth, node)
    }
    return clone(birth, node) { () throws(StepFailure) -> Never in
      try joinCgroups(request.pointee.cgroup)
      let scoreFile = prepared.setsScore ? try openScoreFile(node) : -1
      let joined = namespacesToJoin(request.pointee.namespaces, pod)
      if joined != 0 { try require(clinux_setns(pod.pausePidfd, joined), "join namespaces", "pause") }
      let shm = pod.shmInPause && usesShm(request) ? try copyShm(of: pod, node) : shm
      try isolateCgroup(request.pointee.cgroup)
      try leaveSession()
      _ = umask(0)
      let directory = try furnish(request, rootfs, workingDirectory: process.pointee.cwd, shm: shm, users: nil, node)
      let identity = prepared.identity(try prepared.streams(stdio), directory, scoreFile)
      try become(.command(arguments: prepared.arguments(), environment: prepared.environment()), as: identity, node)
    }
  } catch {
    return CloneOutcome(pid: -1, pidfd: -1, status: -1, failure: error)
  }
}

func usesShm(_ request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>) -> Bool {
  for index in 0..<request.pointee.n_mounts {
    if let mount = request.pointee.mounts[index], MountRequest(mount).isType("shm") { return true }
  }
  return false
}

/// A copy of the tmpfs that pause has mounted, made in pause's mount namespace and taken back to this one.
func copyShm(of pod: Pod, _ node: Node) throws(StepFailure) -> Int32 {
  let own = try require(clinux_open_at(node.proc, "self/ns/mnt", O_RDONLY, 0), "open namespace", "mnt")
  defer { _ = close(own) }
  try require(clinux_setns(pod.pausePidfd, clinux_clone_newns), "join mount namespace", "pause")
  let copy = clinux_clone_tree(AT_FDCWD, "/shm", 0)
  try require(clinux_setns(own, clinux_clone_newns), "join mount namespace", "own")
  return try require(copy, "clone /dev/shm")
}

private func choosePidNamespace(
  _ namespaces: UnsafePointer<Swiftlet__Shim__V1__Namespaces>?, _ pod: Pod, _ targetPidfd: Int32, _ birth: inout Birth
) throws(StepFailure) {
  let mode = namespaces?.pointee.pid ?? SWIFTLET__SHIM__V1__NAMESPACE_MODE__POD
  switch mode {
  case SWIFTLET__SHIM__V1__NAMESPACE_MODE__POD:
    guard pod.hasPidNamespace else {
      throw StepFailure(step: "join pid namespace", errno: EINVAL, subject: "the pod has none of its own")
    }
    birth.pidNamespaceOf = pod.pausePidfd
  case SWIFTLET__SHIM__V1__NAMESPACE_MODE__CONTAINER:
    birth.flags |= clinux_clone_newpid
  case SWIFTLET__SHIM__V1__NAMESPACE_MODE__TARGET:
    guard targetPidfd >= 0 else {
      throw StepFailure("join pid namespace", -ESRCH, namespaces?.pointee.target_id)
    }
    birth.pidNamespaceOf = targetPidfd
  default:
    break
  }
}

/// Pause's namespaces of the kinds that the pod has for itself.
func namespacesToJoin(_ namespaces: UnsafePointer<Swiftlet__Shim__V1__Namespaces>?, _ pod: Pod) -> UInt64 {
  let node = SWIFTLET__SHIM__V1__NAMESPACE_MODE__NODE
  var flags = pod.namespaces
  if let namespaces {
    if namespaces.pointee.network == node { flags &= ~clinux_clone_newnet }
    if namespaces.pointee.ipc == node { flags &= ~clinux_clone_newipc }
  }
  return flags
}
