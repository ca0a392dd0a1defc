import CLinux
import CShimMessages

/// What this process knows of the node and of itself, found out once, before the first clone.
struct Node {
  /// The node's /proc, as a path descriptor: the trusted procfs for writes about a child itself. `self` in it is
  /// whoever asks, in the node's PID namespace, wherever else that process is.
  let proc: Int32
  /// The PID namespace that this process's children are born in.
  let pidNamespace: Int32
  /// The null device, checked to be it.
  let null: Int32
  /// What children can be given at most.
  let capabilities: UInt64
  /// This process's own oom_score_adj: the lowest known to be allowed without CAP_SYS_RESOURCE.
  let oomScoreAdj: Int32
  /// Bit n - 1 for signal n; exec would let them stay ignored.
  let ignoredSignals: UInt64

  // Guard: the process has one thread.
  nonisolated(unsafe) private static var known: Node?

  static func current() throws(StepFailure) -> Node {
    if let known { return known }
    let node = try Node()
    known = node
    return node
  }

  private init() throws(StepFailure) {
    proc = try require(clinux_open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC, 0), "open procfs", "/proc")
    var magic: Int64 = 0
    var flags: UInt64 = 0
    try require(clinux_file_system(proc, &magic, &flags), "open procfs", "/proc")
    guard magic == clinux_proc_magic else { throw StepFailure(step: "open procfs", errno: ENODEV, subject: "/proc") }
    pidNamespace = try require(
      clinux_open_at(proc, "self/ns/pid", O_RDONLY, 0), "open namespace", "/proc/self/ns/pid")
    null = try require(clinux_open("/dev/null", O_RDWR | O_CLOEXEC, 0), "open null device", "/dev/null")
    guard isNullDevice(null) else { throw StepFailure(step: "open null device", errno: ENODEV, subject: "/dev/null") }
    capabilities = clinux_permitted_capabilities()
    oomScoreAdj = readNumber("/proc/self/oom_score_adj")
    ignoredSignals = clinux_ignored_signals()
  }

  /// The score that a child may have, with a word about it when it is not the one asked for.
  func allowedScore(_ wanted: Int32, _ warnings: inout [String]) -> Int32 {
    let canLower = capabilities & (1 << UInt64(CAP_SYS_RESOURCE)) != 0
    if canLower || wanted >= oomScoreAdj { return wanted }
    warnings.append("oom_score_adj \(wanted) clamped to \(oomScoreAdj): lowering it needs CAP_SYS_RESOURCE")
    return oomScoreAdj
  }
}

/// Whether a descriptor is the null device: a character device 1:3, whatever its name says.
func isNullDevice(_ file: Int32) -> Bool {
  var mode: UInt32 = 0
  var device: UInt64 = 0
  guard clinux_file_kind(file, &mode, &device) == 0 else { return false }
  return mode & UInt32(S_IFMT) == UInt32(S_IFCHR) && device == clinux_device_number(1, 3)
}

private func readNumber(_ path: String) -> Int32 {
  guard let bytes = readSmallFile(path), let first = decimals(bytes[...]).first else { return 0 }
  let number = Int32(truncatingIfNeeded: first)
  return bytes[0] == 0x2d ? -number : number
}

/// How a child is born.
struct Birth {
  /// CLONE_NEW* for namespaces of its own.
  var flags: UInt64 = 0
  /// A v2 cgroup directory's path to be born in; empty: the parent's.
  var unified: UnsafePointer<CChar>?
  /// A process whose PID namespace the child is born in, or -1: this process's.
  var pidNamespaceOf: Int32 = -1
}

/// Clones this process. The child runs `body`, which ends in exec or throws; what it throws goes to the status pipe.
func clone(_ birth: Birth, _ node: Node, _ body: () throws(StepFailure) -> Never) -> CloneOutcome {
  do {
    return try cloneOrThrow(birth, node, body)
  } catch {
    return CloneOutcome(pid: -1, pidfd: -1, status: -1, failure: error)
  }
}

private func cloneOrThrow(
  _ birth: Birth, _ node: Node, _ body: () throws(StepFailure) -> Never
) throws(StepFailure) -> CloneOutcome {
  let (reader, writer) = try makePipe("status pipe")
  defer { _ = close(writer) }
  do {
    let child = try bear(birth, node, status: writer, body)
    return CloneOutcome(pid: child.pid, pidfd: child.pidfd, status: reader, failure: nil)
  } catch {
    _ = close(reader)
    throw error
  }
}

func makePipe(_ step: String) throws(StepFailure) -> (reader: Int32, writer: Int32) {
  var ends: (Int32, Int32) = (-1, -1)
  let made = withUnsafeMutableBytes(of: &ends) { clinux_pipe($0.baseAddress?.assumingMemoryBound(to: Int32.self)) }
  try require(made, step)
  return ends
}

/// A v2 cgroup's directory for CLONE_INTO_CGROUP, or -1.
func openUnified(_ birth: Birth) throws(StepFailure) -> Int32 {
  guard let path = birth.unified, path.pointee != 0 else { return -1 }
  return try require(clinux_open(path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0), "join cgroup", on: path)
}

/// Clones this process; what the child's `body` throws goes to the status pipe.
func bear(
  _ birth: Birth, _ node: Node, status writer: Int32, _ body: () throws(StepFailure) -> Never
) throws(StepFailure) -> (pid: Int32, pidfd: Int32) {
  let cgroup = try openUnified(birth)
  defer { if cgroup >= 0 { _ = close(cgroup) } }
  // A child is born into its parent's "namespace for children"; that is the only thing that changes here.
  if birth.pidNamespaceOf >= 0 {
    try require(clinux_setns(birth.pidNamespaceOf, clinux_clone_newpid), "join pid namespace")
  }
  var pidfd: Int32 = -1
  let pid = clinux_clone3(birth.flags | clinux_clone_clear_sighand, &pidfd, cgroup)
  if pid == 0 { runChild(writer, body) }
  if birth.pidNamespaceOf >= 0, clinux_setns(node.pidNamespace, clinux_clone_newpid) < 0 {
    // Every later child would land in the wrong namespace; there is no way on from here.
    _exit(70)
  }
  try require(pid, "clone")
  return (pid, pidfd)
}

func runChild(_ status: Int32, _ body: () throws(StepFailure) -> Never) -> Never {
  do {
    try body()
  } catch {
    report(error, to: status)
    _exit(127)
  }
}

func report(_ failure: StepFailure, to status: Int32) {
  let record = failure.record
  _ = record.withUnsafeBytes { clinux_write(status, $0.baseAddress, $0.count) }
}
