import CLinux
import CShimMessages

/// The descriptors between this process and a child, all close-on-exec; closed with the object unless taken.
final class Pipes {
  /// The child's ends.
  private(set) var child = Stdio(input: -1, output: -1, error: -1)
  /// Our ends; `error` is -1 with a terminal. `input` is -1 when the child reads /dev/null.
  private(set) var ours = Stdio(input: -1, output: -1, error: -1)

  /// - Parameters:
  ///   - stdin: a pipe that stays open, instead of /dev/null.
  ///   - tty: a pseudo terminal instead of pipes; `stdin` has no meaning then.
  init(stdin: Bool, tty: Bool) throws(StepFailure) {
    if tty {
      try openTerminal()
      return
    }
    if stdin {
      (child.input, ours.input) = try Pipes.pipe()
    } else {
      child.input = "/dev/null".withCString { clinux_open($0, O_RDONLY | O_CLOEXEC, 0) }
      guard child.input >= 0 else { throw StepFailure(step: "open", errno: -child.input, subject: "/dev/null") }
    }
    (ours.output, child.output) = try Pipes.pipe()
    (ours.error, child.error) = try Pipes.pipe()
  }

  deinit {
    closeChildEnds()
    closeAndForget(&ours.input)
    closeAndForget(&ours.output)
    closeAndForget(&ours.error)
  }

  /// Gives the child's ends to its user, who may open /dev/stdout and /proc/self/fd/1 again.
  func own(by user: UnsafePointer<Swiftlet__Shim__V1__User>?, in users: PodUsers?) throws(StepFailure) {
    let uid = (user?.pointee.uid ?? 0) &+ (users?.uid ?? 0)
    let gid = (user?.pointee.gid ?? 0) &+ (users?.gid ?? 0)
    guard uid != 0 || gid != 0 else { return }
    if ours.input >= 0 { try require(clinux_fchown(child.input, uid, gid), "own standard input") }
    try require(clinux_fchown(child.output, uid, gid), "own standard output")
    try require(clinux_fchown(child.error, uid, gid), "own standard error")
  }

  /// After the clone, so that our ends see the end of file.
  func closeChildEnds() {
    closeAndForget(&child.input)
    closeAndForget(&child.output)
    closeAndForget(&child.error)
  }

  /// Our ends belong to the caller from now on.
  func takeOurs() -> Stdio {
    let taken = ours
    ours = Stdio(input: -1, output: -1, error: -1)
    return taken
  }

  private static func pipe() throws(StepFailure) -> (read: Int32, write: Int32) {
    var ends: (Int32, Int32) = (-1, -1)
    let result = withUnsafeMutableBytes(of: &ends) {
      $0.assumingMemoryBound(to: Int32.self).baseAddress.map { pipe2($0, O_CLOEXEC) } ?? -1
    }
    guard result == 0 else { throw StepFailure(step: "pipe", errno: clinux_errno(), subject: "") }
    return ends
  }

  private func openTerminal() throws(StepFailure) {
    let flags = O_RDWR | O_NOCTTY | O_CLOEXEC
    let master = "/dev/ptmx".withCString { clinux_open($0, flags, 0) }
    guard master >= 0 else { throw StepFailure(step: "open", errno: -master, subject: "/dev/ptmx") }
    ours.output = master
    guard unlockpt(master) == 0 else { throw StepFailure(step: "unlock terminal", errno: clinux_errno(), subject: "") }
    let slave = clinux_pty_peer(master, flags)
    guard slave >= 0 else { throw StepFailure(step: "open terminal", errno: -slave, subject: "") }
    child = Stdio(input: slave, output: -1, error: -1)
    ours.input = clinux_fcntl(master, F_DUPFD_CLOEXEC, 3)
    child.output = clinux_fcntl(slave, F_DUPFD_CLOEXEC, 3)
    child.error = clinux_fcntl(slave, F_DUPFD_CLOEXEC, 3)
    guard ours.input >= 0, child.output >= 0, child.error >= 0 else {
      throw StepFailure(step: "duplicate terminal", errno: EMFILE, subject: "")
    }
  }
}
