import CLinux
import CShimMessages

/// A process as it shall be at exec; what container start, exec and pause have in common.
struct Identity {
  var stdio: Stdio
  /// Whether stdio is a terminal that becomes the controlling one.
  var terminal = false
  /// An open directory inside the root.
  var workingDirectory: Int32
  /// Open /proc/self/oom_score_adj of the node, or -1: leave it.
  var scoreFile: Int32 = -1
  var score: Int32 = 0
  var uid: UInt32 = 0
  var gid: UInt32 = 0
  var groups: UnsafePointer<UInt32>?
  var groupCount = 0
  var bounding: UInt64 = 0
  var effective: UInt64 = 0
  var permitted: UInt64 = 0
  var inheritable: UInt64 = 0
  var ambient: UInt64 = 0
  var noNewPrivileges = true
  /// struct sock_filter[]
  var filter: UnsafeMutablePointer<UInt8>?
  var filterSize = 0
  /// SECCOMP_FILTER_FLAG_*
  var filterFlags: UInt32 = 0
  /// The soft limit of descriptors; 0: leave it.
  var openFiles: UInt64 = 0

  mutating func take(_ user: UnsafePointer<Swiftlet__Shim__V1__User>) {
    uid = user.pointee.uid
    gid = user.pointee.gid
    groups = UnsafePointer(user.pointee.groups)
    groupCount = user.pointee.n_groups
  }
}

/// What to exec.
enum Program {
  /// An open file, by execveat.
  case file(Int32, arguments: StringVector, environment: StringVector)
  /// The first argument: a path, or a name looked for in the environment's PATH, both inside the root.
  case command(arguments: StringVector, environment: StringVector)
}

/// A null-terminated array of C strings.
typealias StringVector = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>

/// The one end of container start, exec and pause: gives up everything that is the node's and becomes the program.
/// The root, the namespaces and the cgroups are the container's already; nothing here is resolved by a path but the
/// program itself. Every step that fails ends the start.
func become(_ program: Program, as identity: Identity, _ node: Node) throws(StepFailure) -> Never {
  try enter(identity.workingDirectory)
  try takeStandardDescriptors(identity)
  if identity.scoreFile >= 0 { try writeNumber(identity.score, to: identity.scoreFile, "set oom_score_adj") }
  try resetSignals(node)
  _ = umask(0o022)
  try dropBoundingSet(keeping: identity.bounding)
  if identity.noNewPrivileges { try require(clinux_prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "set no_new_privs") }
  try becomeUser(identity)
  try hide()
  try require(clinux_close_on_exec_from(3), "close descriptors")
  if identity.openFiles > 0 { try require(clinux_limit_open_files(identity.openFiles), "limit open files") }
  try giveUpCapabilities(identity)
  switch program {
  case .file(let file, let arguments, let environment):
    try require(clinux_execute(file, arguments, environment), "exec", on: arguments[0])
  case .command(let arguments, let environment):
    try execute(arguments, environment)
  }
  _exit(127)  // exec does not return without an error
}

/// The working directory is a descriptor by now; the kernel says whether it lies below the root.
private func enter(_ directory: Int32) throws(StepFailure) {
  try require(clinux_fchdir(directory), "working directory")
  var first: CChar = 0
  let length = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
    let length = clinux_getcwd(buffer.baseAddress, buffer.count)
    if length > 0 { first = buffer[0] }
    return length
  }
  try require(length, "working directory")
  // "(unreachable)…" otherwise.
  guard first == 0x2f else { throw StepFailure(step: "working directory", errno: EXDEV, subject: "outside the root") }
}

private func takeStandardDescriptors(_ identity: Identity) throws(StepFailure) {
  // A source below 3 would be overwritten before its turn.
  let input = try raised(identity.stdio.input)
  let output = try raised(identity.stdio.output)
  let error = try raised(identity.stdio.error)
  try require(clinux_dup3(input, 0, 0), "standard input")
  try require(clinux_dup3(output, 1, 0), "standard output")
  try require(clinux_dup3(error, 2, 0), "standard error")
  if identity.terminal { try require(clinux_controlling_terminal(0), "controlling terminal") }
}

private func raised(_ descriptor: Int32) throws(StepFailure) -> Int32 {
  if descriptor > 2 { return descriptor }
  return try require(clinux_fcntl(descriptor, F_DUPFD_CLOEXEC, 3), "standard descriptors")
}

/// Caught signals became default by clone3; ignored ones and the mask would survive exec.
private func resetSignals(_ node: Node) throws(StepFailure) {
  var ignored = node.ignoredSignals
  while ignored != 0 {
    let number = Int32(ignored.trailingZeroBitCount) + 1
    try require(clinux_default_signal(number), "reset signals")
    ignored &= ignored - 1
  }
  try require(clinux_unblock_signals(), "reset signals")
}

private func dropBoundingSet(keeping kept: UInt64) throws(StepFailure) {
  var number: UInt = 0
  while number < 64 {
    if kept & (1 << UInt64(number)) == 0 {
      let dropped = clinux_prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
      if dropped == -EINVAL { return }  // past the kernel's last capability
      try require(dropped, "drop capability", "\(number)")
    }
    number += 1
  }
}

private func becomeUser(_ identity: Identity) throws(StepFailure) {
  try require(clinux_setgroups(identity.groups, identity.groupCount), "set groups")
  try require(clinux_setresgid(identity.gid), "set group", "\(identity.gid)")
  guard identity.uid != 0 else { return }
  // Else the permitted set would be gone before it can be reduced to what was asked for; exec clears the flag.
  try require(clinux_prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities")
  try require(clinux_setresuid(identity.uid), "set user", "\(identity.uid)")
}

/// Capabilities and the filter. The filter comes last so that it need not allow anything that we do but exec.
///
/// Without no_new_privs it needs CAP_SYS_ADMIN, which nothing can take away afterwards if the profile lacks capset; exec
/// does. There the permitted set is made anew: of the bounding and inheritable sets for root, of the ambient set and the
/// file for others, and never of what was permitted before (capabilities(7)).
///
/// Only no_new_privs makes the former set a limit, so an ordinary user keeps none that is not ambient: a file of the
/// image that is marked with capabilities would give them back.
private func giveUpCapabilities(_ identity: Identity) throws(StepFailure) {
  let needsAdministrator = identity.filterSize > 0 && !identity.noNewPrivileges
  let more: UInt64 = needsAdministrator ? 1 << UInt64(CAP_SYS_ADMIN) : 0
  let kept: UInt64 = identity.uid == 0 ? .max : identity.ambient
  try require(
    clinux_capset(
      identity.effective & kept | more, identity.permitted & kept | more, identity.inheritable), "set capabilities")
  var ambient = identity.ambient
  while ambient != 0 {
    let number = UInt(ambient.trailingZeroBitCount)
    try require(clinux_prctl(PR_CAP_AMBIENT, 2 /* RAISE */, number, 0, 0), "raise ambient capability", "\(number)")
    ambient &= ambient - 1
  }
  if identity.filterSize > 0 { try loadFilter(identity) }
}

private func loadFilter(_ identity: Identity) throws(StepFailure) {
  try require(clinux_seccomp_load(identity.filter, identity.filterSize, identity.filterFlags), "load seccomp filter")
}

/// Writes a number in one call, as the kernel's files want it.
func writeNumber(_ number: Int32, to file: Int32, _ step: String) throws(StepFailure) {
  let digits = "\(number)"
  let wrote = digits.withCString { clinux_write(file, $0, strlen($0)) }
  try require(wrote, step, digits)
}

/// execve of a command: a name without a slash is tried in each directory of PATH, inside the root, as a shell does.
private func execute(_ arguments: StringVector, _ environment: StringVector) throws(StepFailure) -> Never {
  guard let name = arguments[0], name.pointee != 0 else {
    throw StepFailure(step: "exec", errno: ENOENT, subject: "empty command")
  }
  if strchr(name, 0x2f) != nil {
    throw StepFailure("exec", clinux_execve(name, arguments, environment), name)
  }
  var failure: Int32 = -ENOENT
  var directory: UnsafePointer<CChar>? = searchPath(environment)
  while let start = directory {
    let separator = strchr(start, 0x3a).map { UnsafePointer<CChar>($0) }
    let length = separator.map { $0 - start } ?? Int(strlen(start))
    let candidate = join(start, length, name)
    let result = clinux_execve(candidate, arguments, environment)
    if result != -ENOENT, result != -ENOTDIR {
      failure = result
      if result != -EACCES { break }
    }
    directory = separator.map { $0 + 1 }
  }
  throw StepFailure("exec", failure, name)
}

/// The value of PATH; when it is not there, that of every image's first line.
private func searchPath(_ environment: StringVector) -> UnsafePointer<CChar> {
  var index = 0
  while let entry = environment[index] {
    if strncmp(entry, "PATH=", 5) == 0 { return UnsafePointer(entry) + 5 }
    index += 1
  }
  let usual: StaticString = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
  return UnsafeRawPointer(usual.utf8Start).assumingMemoryBound(to: CChar.self)
}

/// directory/name; an empty directory is the working one.
private func join(
  _ directory: UnsafePointer<CChar>, _ length: Int, _ name: UnsafePointer<CChar>
)
  -> UnsafeMutablePointer<CChar>
{
  let nameLength = Int(strlen(name))
  let path = UnsafeMutablePointer<CChar>.allocate(capacity: length + nameLength + 2)
  memcpy(path, directory, length)
  var end = length
  if length > 0 {
    path[end] = 0x2f
    end += 1
  }
  memcpy(path + end, name, nameLength + 1)
  return path
}
