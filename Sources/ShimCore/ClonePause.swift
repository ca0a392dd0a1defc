import CLinux
import CShimMessages

/// Clones the pod's first process, which holds the pod's namespaces and does nothing.
///
/// Its root is an empty read-only tmpfs: it needs no image, pins no mount of the node's, and /proc/1/root of a shared
/// PID namespace leads nowhere. Its program is a read-only copy of the mount that the binary is on, so that nobody can
/// write to the node's file through /proc/1/exe.
func clonePause(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartSandboxRequest>, networkNamespace: Int32, users: PodUsers?,
  warnings: inout [String]
) -> (CloneOutcome, Pod) {
  var pod = Pod(pausePid: -1, pausePidfd: -1, selfPidNamespace: -1, shmMount: -1)
  pod.users = users
  do {
    let outcome = try clonePause(request, networkNamespace, &pod, &warnings)
    pod.pausePid = outcome.pid
    pod.pausePidfd = outcome.pidfd
    return (outcome, pod)
  } catch {
    closeAndForget(&pod.shmMount)
    return (CloneOutcome(pid: -1, pidfd: -1, status: -1, failure: error), pod)
  }
}

private func clonePause(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartSandboxRequest>, _ networkNamespace: Int32, _ pod: inout Pod,
  _ warnings: inout [String]
) throws(StepFailure) -> CloneOutcome {
  let node = try Node.current()
  pod.selfPidNamespace = node.pidNamespace
  pod.namespaces = try ownNamespaces(request, networkNamespace, &pod.hasPidNamespace)
  for index in 0..<request.pointee.n_sysctls {
    try requireAllowed(request.pointee.sysctls[index], pod.namespaces)
  }
  guard request.pointee.seccomp.len % MemoryLayout<sock_filter>.stride == 0 else {
    throw StepFailure(step: "request", errno: EINVAL, subject: "seccomp program's size")
  }
  let program = try readonlyCopy(request.pointee.pause_path, "open pause")
  defer { _ = close(program) }
  if isSet(request.pointee.shm_directory) {
    pod.shmMount = try makeShm(request.pointee.shm_size, owner: pod.users)
    pod.shmInPause = !canBeCopied(pod.shmMount)
  }
  let shmForPause = pod.shmInPause ? pod.shmMount : -1
  defer { if pod.shmInPause { closeAndForget(&pod.shmMount) } }
  let score = node.allowedScore(request.pointee.oom_score_adj, &warnings)
  var birth = Birth(
    flags: clinux_clone_newns | (pod.namespaces & ~clinux_clone_newnet),
    unified: UnsafePointer(request.pointee.cgroup?.pointee.unified))
  if pod.hasPidNamespace { birth.flags |= clinux_clone_newpid }
  let child = PauseChild(
    request: request, network: pod.namespaces & clinux_clone_newnet != 0 ? networkNamespace : -1,
    setsName: pod.namespaces & clinux_clone_newuts != 0, program: program, shm: shmForPause, score: score, node: node)
  if let users = pod.users {
    let before = { () throws(StepFailure) in
      let scoreFile = try child.begin()
      try writeNumber(score, to: scoreFile, "set oom_score_adj")
    }
    return try cloneInside(users, birth, node, before: before) { () throws(StepFailure) -> Never in
      try child.finish(scoreFile: -1)
    }
  }
  return clone(birth, node) { () throws(StepFailure) -> Never in try child.finish(scoreFile: child.begin()) }
}

/// What becomes pause.
private struct PauseChild {
  let request: UnsafePointer<Swiftlet__Shim__V1__StartSandboxRequest>
  /// The network namespace to be joined, or -1.
  let network: Int32
  let setsName: Bool
  let program: Int32
  /// The pod's shm, to be kept in sight, or -1.
  let shm: Int32
  let score: Int32
  let node: Node

  /// What a process outside the pod's user namespace has to do.
  func begin() throws(StepFailure) -> Int32 {
    try joinCgroups(request.pointee.cgroup)
    let scoreFile = try openScoreFile(node)
    if network >= 0 { try require(clinux_setns(network, clinux_clone_newnet), "join network namespace") }
    return scoreFile
  }

  func finish(scoreFile: Int32) throws(StepFailure) -> Never {
    if setsName {
      let name = request.pointee.hostname
      try require(clinux_sethostname(name, name.map { strlen($0) } ?? 0), "set hostname", on: name)
    }
    for index in 0..<request.pointee.n_sysctls { try write(request.pointee.sysctls[index], node) }
    try isolateCgroup(request.pointee.cgroup)
    try leaveSession()
    let root = try enterEmptyRoot(shm)
    var identity = Identity(
      stdio: Stdio(input: node.null, output: node.null, error: node.null), workingDirectory: root, scoreFile: scoreFile,
      score: score, filter: request.pointee.seccomp.data, filterSize: request.pointee.seccomp.len,
      filterFlags: request.pointee.seccomp_flags)
    if let user = request.pointee.user { identity.take(user) }
    try become(.file(program, arguments: pauseArguments(), environment: emptyVector()), as: identity, node)
  }
}

/// Which namespaces of pause's are the pod's.
private func ownNamespaces(
  _ request: UnsafePointer<Swiftlet__Shim__V1__StartSandboxRequest>, _ networkNamespace: Int32, _ hasPid: inout Bool
) throws(StepFailure) -> UInt64 {
  let node = SWIFTLET__SHIM__V1__NAMESPACE_MODE__NODE
  let asked = request.pointee.namespaces
  hasPid =
    (asked?.pointee.pid ?? SWIFTLET__SHIM__V1__NAMESPACE_MODE__POD) == SWIFTLET__SHIM__V1__NAMESPACE_MODE__POD
  var own: UInt64 = 0
  if asked?.pointee.network != node {
    guard networkNamespace >= 0 else {
      throw StepFailure(step: "join network namespace", errno: EBADF, subject: "no descriptor came with the request")
    }
    own |= clinux_clone_newnet
  }
  if asked?.pointee.ipc != node { own |= clinux_clone_newipc }
  if isSet(request.pointee.hostname) { own |= clinux_clone_newuts }
  return own
}

/// A detached copy of the mount of one file, through which the file cannot be written.
private func readonlyCopy(_ path: UnsafePointer<CChar>?, _ step: String) throws(StepFailure) -> Int32 {
  guard let path else { throw StepFailure(step: step, errno: EINVAL, subject: "") }
  let copy = try require(clinux_clone_tree(AT_FDCWD, path, 0), step, on: path)
  let set = clinux_mount_setattr(
    copy, 0, clinux_mount_readonly | clinux_mount_nosuid | clinux_mount_nodev, clinux_propagation_private)
  if set < 0 { _ = close(copy) }
  try require(set, step, on: path)
  return copy
}

/// The pod's /dev/shm. Held by this process, detached; containers attach copies.
private func makeShm(_ size: UInt64, owner: PodUsers?) throws(StepFailure) -> Int32 {
  try makeTmpfs(
    size: "\(size == 0 ? 64 << 20 : size)", mode: "1777",
    attributes: clinux_mount_nosuid | clinux_mount_nodev | clinux_mount_noexec, owner: owner, "mount shm")
}

/// Whether open_tree copies a detached mount: Linux 6.15. Before, the tmpfs has to be attached somewhere.
private func canBeCopied(_ mount: Int32) -> Bool {
  let copy = clinux_clone_tree(mount, "", 0)
  if copy >= 0 { _ = close(copy) }
  return copy >= 0
}

/// Makes an empty read-only file system the root. Laid over "/", so that it needs no directory of anybody's.
/// - Parameter shm: the pod's shm, to be kept at /shm; -1: none, and the root stays empty.
private func enterEmptyRoot(_ shm: Int32) throws(StepFailure) -> Int32 {
  try require(clinux_propagate_all(clinux_propagation_private), "make mounts private")
  let root = try makeTmpfs(
    size: "4096", mode: "555", attributes: clinux_mount_nosuid | clinux_mount_nodev | clinux_mount_noexec, "mount root")
  if shm >= 0 { try require(clinux_mkdirat(root, "shm", 0o755), "mount root", "shm") }
  try require(clinux_attach_mount_at(root, "/"), "attach root")
  try pivot(to: root)
  if shm >= 0 {
    let place = try require(clinux_open_at(root, "shm", O_PATH | O_DIRECTORY, 0), "mount shm")
    try require(clinux_attach_mount(shm, place), "mount shm")
  }
  try require(clinux_mount_setattr(root, 0, clinux_mount_readonly, 0), "mount root")
  return root
}

private func pauseArguments() -> StringVector {
  let vector = StringVector.allocate(capacity: 2)
  let name: StaticString = "swiftlet-pause"
  vector[0] = terminated(name.utf8Start, name.utf8CodeUnitCount)
  vector[1] = nil
  return vector
}

private func emptyVector() -> StringVector {
  let vector = StringVector.allocate(capacity: 1)
  vector[0] = nil
  return vector
}
