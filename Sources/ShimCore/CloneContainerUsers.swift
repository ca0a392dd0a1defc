import CLinux
import CShimMessages

/// What a container of a pod with a user namespace begins as.
struct ContainerPlan {
  let request: UnsafePointer<Swiftlet__Shim__V1__StartRequest>
  let rootfs: UnsafePointer<Swiftlet__Shim__V1__Rootfs>
  let process: UnsafePointer<Swiftlet__Shim__V1__Process>
  let prepared: Preparation
  let stdio: Stdio
  let pod: Pod
  /// A copy of the pod's shm, or -1.
  let shm: Int32
}

/// Clones a container's first process into the pod's user namespace, and beside it one that furnishes its root.
///
/// The root is mounted by a process that has all capabilities on the node, so that layers and volumes are shown with
/// other ids and /proc and /sys need no older ones in sight; then that process makes a copy of its mount namespace which
/// belongs to the user namespace. In such a copy the kernel locks every mount: none of them, and no mask, can be taken
/// away or changed from inside, whatever capabilities the container has (mount_namespaces(7)). The first process
/// joins it.
func cloneContainer(
  _ plan: ContainerPlan, inside users: PodUsers, _ birth: Birth, _ node: Node
) throws(StepFailure) -> CloneOutcome {
  var ends: (Int32, Int32) = (-1, -1)
  let made = withUnsafeMutableBytes(of: &ends) {
    clinux_socketpair($0.baseAddress?.assumingMemoryBound(to: Int32.self))
  }
  try require(made, "socket pair")
  let (mine, furnishers) = ends
  var (reader, writer) = try makePipe("status pipe")
  defer {
    _ = close(mine)
    _ = close(furnishers)
    closeAndForget(&writer)
  }
  var first: (pid: Int32, pidfd: Int32) = (-1, -1)
  do {
    var inside = birth
    inside.flags &= ~clinux_clone_newns
    let before = { () throws(StepFailure) in try prepareOutside(plan, node) }
    first = try bearInside(users, inside, node, status: (reader, writer), before: before) {
      () throws(StepFailure) -> Never in
      _ = close(furnishers)
      try runFirst(plan, mounts: mine, node)
    }
    var beside = Birth(flags: clinux_clone_newns, unified: birth.unified)
    beside.pidNamespaceOf = first.pidfd
    let furnisher = try bear(beside, node, status: writer) { () throws(StepFailure) -> Never in
      _ = close(mine)
      runFurnisher(plan, users, mounts: furnishers, status: writer, node)
    }
    _ = close(furnisher.pidfd)
  } catch {
    // Reaped with all that end; nobody asks for this one.
    if first.pidfd >= 0 {
      _ = clinux_pidfd_send_signal(first.pidfd, SIGKILL)
      _ = close(first.pidfd)
    }
    closeAndForget(&reader)
    throw error
  }
  return CloneOutcome(pid: first.pid, pidfd: first.pidfd, status: reader, failure: nil)
}

private func prepareOutside(_ plan: ContainerPlan, _ node: Node) throws(StepFailure) {
  try joinCgroups(plan.request.pointee.cgroup)
  if plan.prepared.setsScore { try plan.prepared.writeScore(node) }
  try joinPod(plan)
}

private func joinPod(_ plan: ContainerPlan) throws(StepFailure) {
  let joined = namespacesToJoin(plan.request.pointee.namespaces, plan.pod)
  if joined != 0 { try require(clinux_setns(plan.pod.pausePidfd, joined), "join namespaces", "pause") }
}

private func runFirst(_ plan: ContainerPlan, mounts channel: Int32, _ node: Node) throws(StepFailure) -> Never {
  try leaveSession()
  _ = umask(0)
  var mounts: Int32 = -1
  let got = clinux_wait_for_descriptor(channel, &mounts)
  // The furnisher has said why.
  if got > 0, mounts < 0 { _exit(127) }
  guard got > 0 else { throw StepFailure(step: "furnish root: killed", errno: ECHILD, subject: "") }
  try require(clinux_setns(mounts, clinux_clone_newns), "join mount namespace")
  try isolateCgroup(plan.request.pointee.cgroup)
  let root = ContainerRoot(
    descriptor: try require(clinux_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0), "open root", "/"))
  let directory = try root.place(plan.process.pointee.cwd, .directory, "working directory")
  let identity = plan.prepared.identity(try plan.prepared.streams(plan.stdio), directory, -1)
  try become(
    .command(arguments: plan.prepared.arguments(), environment: plan.prepared.environment()), as: identity, node)
}

private func runFurnisher(
  _ plan: ContainerPlan, _ users: PodUsers, mounts channel: Int32, status: Int32, _ node: Node
) -> Never {
  do throws(StepFailure) {
    try joinCgroups(plan.request.pointee.cgroup)
    try joinPod(plan)
    let shm = plan.pod.shmInPause && usesShm(plan.request) ? try copyShm(of: plan.pod, node) : plan.shm
    try isolateCgroup(plan.request.pointee.cgroup)
    _ = umask(0)
    _ = try furnish(
      plan.request, plan.rootfs, workingDirectory: plan.process.pointee.cwd, shm: shm, users: users, node)
    try enter(users)
    try require(clinux_unshare(clinux_clone_newns), "unshare mount namespace")
    let mounts = try require(clinux_open_at(node.proc, "self/ns/mnt", O_RDONLY, 0), "open namespace", "mnt")
    try require(clinux_send_descriptor(channel, mounts), "hand over mount namespace")
    _exit(0)
  } catch {
    report(error, to: status)
    _ = clinux_send_descriptor(channel, -1)
    _exit(127)
  }
}
