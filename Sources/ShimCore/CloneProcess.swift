import CLinux
import CShimMessages

/// A request's process, checked before anything is cloned.
struct Preparation {
  private let process: UnsafePointer<Swiftlet__Shim__V1__Process>
  private let node: Node
  private let score: Int32

  init(
    _ process: UnsafePointer<Swiftlet__Shim__V1__Process>, _ node: Node, _ warnings: inout [String]
  )
    throws(StepFailure)
  {
    self.process = process
    self.node = node
    guard process.pointee.n_argv > 0 else {
      throw StepFailure(step: "request", errno: EINVAL, subject: "argv is empty")
    }
    try requireStrings(process.pointee.argv, process.pointee.n_argv, "argv")
    try requireStrings(process.pointee.env, process.pointee.n_env, "env")
    // Missing sets would mean all of ours.
    guard process.pointee.capabilities != nil else {
      throw StepFailure(step: "request", errno: EINVAL, subject: "capabilities are required")
    }
    guard process.pointee.seccomp.len % MemoryLayout<sock_filter>.stride == 0, process.pointee.seccomp.len <= 4096 * 8
    else { throw StepFailure(step: "request", errno: EINVAL, subject: "seccomp program's size") }
    score = process.pointee.set_oom_score_adj != 0 ? node.allowedScore(process.pointee.oom_score_adj, &warnings) : 0
    if let sets = process.pointee.capabilities {
      let missing = (sets.pointee.bounding | sets.pointee.permitted) & ~node.capabilities
      if missing != 0 { warnings.append("capabilities that the node does not give were left out: \(missing)") }
    }
  }

  var setsScore: Bool { process.pointee.set_oom_score_adj != 0 }

  /// Sets the score of the process that calls this, and of all that come from it. From outside a user namespace: inside
  /// it there is no privilege that a lower score needs.
  func writeScore(_ node: Node) throws(StepFailure) {
    let file = try openScoreFile(node)
    try writeNumber(score, to: file, "set oom_score_adj")
    _ = close(file)
  }

  /// The child's streams: those that it was given, or the terminal that it makes for itself. To be called by the child,
  /// its root in place.
  func streams(_ given: Stdio) throws(StepFailure) -> Stdio {
    guard let terminal = given.terminal else { return given }
    let root = try require(clinux_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0), "open root", "/")
    defer { _ = close(root) }
    return try makeTerminal(
      terminal, owner: process.pointee.user?.pointee.uid ?? 0, in: ContainerRoot(descriptor: root))
  }

  func identity(_ stdio: Stdio, _ directory: Int32, _ scoreFile: Int32) -> Identity {
    var identity = Identity(
      stdio: stdio, terminal: process.pointee.tty != 0, workingDirectory: directory, scoreFile: scoreFile, score: score)
    if let user = process.pointee.user { identity.take(user) }
    if let sets = process.pointee.capabilities {
      identity.bounding = sets.pointee.bounding & node.capabilities
      identity.effective = sets.pointee.effective & node.capabilities
      identity.permitted = sets.pointee.permitted & node.capabilities
      identity.inheritable = sets.pointee.inheritable & node.capabilities
      identity.ambient = sets.pointee.ambient & node.capabilities
    }
    identity.noNewPrivileges = process.pointee.no_new_privs != 0
    identity.filter = process.pointee.seccomp.data
    identity.filterSize = process.pointee.seccomp.len
    identity.filterFlags = process.pointee.seccomp_flags
    identity.openFiles = process.pointee.open_files
    return identity
  }

  func arguments() -> StringVector { vector(process.pointee.argv, process.pointee.n_argv) }
  func environment() -> StringVector { vector(process.pointee.env, process.pointee.n_env) }
}

private func requireStrings(
  _ items: UnsafePointer<ProtobufCBinaryData>?, _ count: Int, _ name: String
)
  throws(StepFailure)
{
  for index in 0..<count {
    guard let item = items?[index], item.len > 0, let data = item.data else { continue }
    if memchr(data, 0, item.len) != nil {
      throw StepFailure(step: "request", errno: EINVAL, subject: name + " has a zero byte")
    }
  }
}

/// For exec; made in the child, where the rest of the heap is as good as gone.
private func vector(_ items: UnsafePointer<ProtobufCBinaryData>?, _ count: Int) -> StringVector {
  let strings = StringVector.allocate(capacity: count + 1)
  for index in 0..<count {
    strings[index] = terminated(items?[index].data, items?[index].len ?? 0)
  }
  strings[count] = nil
  return strings
}
