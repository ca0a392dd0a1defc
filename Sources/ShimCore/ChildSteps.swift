import CLinux
import CShimMessages

// The first steps of a child, while it still is on the node's side.

/// Lets nobody look into this process. To be called again after whatever changes its user, group or capabilities: the
/// kernel then makes it as the node's fs.suid_dumpable says (proc_sys_fs(5)), which somebody who debugs sets to 1; and
/// a neighbour of the same user could take a descriptor of the node's out of it.
func hide() throws(StepFailure) {
  try require(clinux_prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "set dumpable")
}

/// Joins the v1 hierarchies and stops being dumpable, before anything else that the container could see or pay for.
///
/// The thread moves itself by `tasks`: with `cgroup.procs` the kernel would take a lock of all processes and wait out
/// a grace period, 6 to 15 ms; so it is some 20 µs, and the same for a process that has one thread.
func joinCgroups(_ cgroup: UnsafePointer<Swiftlet__Shim__V1__Cgroup>?) throws(StepFailure) {
  try hide()
  guard let cgroup else { return }
  for index in 0..<cgroup.pointee.n_directories {
    guard let directory = cgroup.pointee.directories[index] else { continue }
    var file = openForWriting(directory, "/tasks")
    // A v2 directory among them: the hybrid's, when it was not given as the one to be born in.
    if file == -ENOENT { file = openForWriting(directory, "/cgroup.procs") }
    try require(file, "join cgroup", on: directory)
    try require(clinux_write(file, "0", 1), "join cgroup", on: directory)
    _ = close(file)
  }
}

private func openForWriting(_ directory: UnsafePointer<CChar>, _ name: StaticString) -> Int32 {
  let length = Int(strlen(directory))
  return withUnsafeTemporaryAllocation(of: CChar.self, capacity: length + name.utf8CodeUnitCount + 1) { path in
    guard let start = path.baseAddress else { return -ENOMEM }
    memcpy(start, directory, length)
    memcpy(start + length, name.utf8Start, name.utf8CodeUnitCount)
    start[length + name.utf8CodeUnitCount] = 0
    return clinux_open(start, O_WRONLY | O_CLOEXEC, 0)
  }
}

/// A cgroup namespace rooted where the child is now. clone3 would root it where the parent is.
func isolateCgroup(_ cgroup: UnsafePointer<Swiftlet__Shim__V1__Cgroup>?) throws(StepFailure) {
  guard isIsolated(cgroup) else { return }
  try require(clinux_unshare(clinux_clone_newcgroup), "unshare cgroup namespace")
}

/// Whether a process of this group has a cgroup namespace of its own.
func isIsolated(_ cgroup: UnsafePointer<Swiftlet__Shim__V1__Cgroup>?) -> Bool {
  guard let cgroup, hasUnified(cgroup) else { return false }
  return cgroup.pointee.shared == 0
}

func hasUnified(_ cgroup: UnsafePointer<Swiftlet__Shim__V1__Cgroup>?) -> Bool {
  guard let cgroup else { return false }
  return isSet(cgroup.pointee.unified)
}

/// A session and a session keyring of its own: no terminal and no key of the daemon's is inherited.
func leaveSession() throws(StepFailure) {
  try require(clinux_setsid(), "new session")
  let joined = clinux_join_session_keyring()
  if joined != -ENOSYS { try require(joined, "new session keyring") }
}

/// The file of the child's own oom_score_adj in the node's procfs. Opened before any container path is touched.
func openScoreFile(_ node: Node) throws(StepFailure) -> Int32 {
  try require(
    clinux_openat2(
      node.proc, "self/oom_score_adj", UInt64(O_WRONLY), 0, UInt64(RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS)),
    "open oom_score_adj")
}

/// Puts a mounted tree in the place of the old root, which is gone afterwards.
func pivot(to root: Int32) throws(StepFailure) {
  try require(clinux_fchdir(root), "enter root")
  // Both on ".": the old root ends up on top of the new one, from where it is detached.
  try require(clinux_pivot_root(".", "."), "pivot root")
  try require(clinux_detach_mount("."), "detach old root")
}
