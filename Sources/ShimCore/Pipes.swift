import CLinux
import CShimMessages

/// The descriptors between this process and a child, all close-on-exec; closed with the object unless taken.
final class Pipes {
  /// The child's ends.
  private(set) var child = Stdio(input: -1, output: -1, error: -1)
  /// Our ends, all -1 with a terminal. `input` is -1 when the child reads /dev/null.
  private(set) var ours = Stdio(input: -1, output: -1, error: -1)
  /// Where the master of the child's terminal comes, or -1.
  private var terminal: Int32 = -1

  /// - Parameters:
  ///   - stdin: a pipe that stays open, instead of /dev/null.
  ///   - tty: a terminal that the child makes, instead of pipes; `stdin` has no meaning then.
  init(stdin: Bool, tty: Bool) throws(StepFailure) {
    if tty {
      try openTerminalSocket()
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
    closeAndForget(&terminal)
  }

  /// Gives the child's ends to its user, who may open /dev/stdout and /proc/self/fd/1 again. A terminal is given to him
  /// by the child.
  func own(by user: UnsafePointer<Swiftlet__Shim__V1__User>?, in users: PodUsers?) throws(StepFailure) {
    let owner = PipeOwner(user, in: users)
    if ours.input >= 0 { try owner.take(child.input, "own standard input") }
    if child.output >= 0 { try owner.take(child.output, "own standard output") }
    if child.error >= 0 { try owner.take(child.error, "own standard error") }
  }

  /// After the clone, so that our ends see the end of file.
  func closeChildEnds() {
    closeAndForget(&child.input)
    closeAndForget(&child.output)
    closeAndForget(&child.error)
    if var socket = child.terminal?.socket { closeAndForget(&socket) }
    child.terminal = nil
  }

  /// Our ends belong to the caller from now on.
  func takeOurs() -> Stdio {
    let taken = ours
    ours = Stdio(input: -1, output: -1, error: -1)
    return taken
  }

  /// The socket where the terminal's master comes before the child's program begins, or -1. It is the caller's from now
  /// on.
  func takeTerminalSocket() -> Int32 {
    let taken = terminal
    terminal = -1
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

  private func openTerminalSocket() throws(StepFailure) {
    var ends: (Int32, Int32) = (-1, -1)
    let made = withUnsafeMutableBytes(of: &ends) {
      clinux_socketpair($0.baseAddress?.assumingMemoryBound(to: Int32.self))
    }
    try require(made, "socket pair")
    terminal = ends.0
    child.terminal = NewTerminal(socket: ends.1, isConsole: true)
  }
}

/// The user of a container as the node knows him, who is to own the pipes that its processes are given.
struct PipeOwner {
  private let uid: UInt32
  private let gid: UInt32

  init(_ user: UnsafePointer<Swiftlet__Shim__V1__User>?, in users: PodUsers?) {
    uid = (user?.pointee.uid ?? 0) &+ (users?.uid ?? 0)
    gid = (user?.pointee.gid ?? 0) &+ (users?.gid ?? 0)
  }

  /// Nothing but a pipe ever changes hands (ATTACKS L11).
  func take(_ pipe: Int32, _ step: @autoclosure () -> String) throws(StepFailure) {
    guard uid != 0 || gid != 0, isPipe(pipe) else { return }
    try require(clinux_fchown(pipe, uid, gid), step())
  }
}

func isPipe(_ file: Int32) -> Bool {
  var mode: UInt32 = 0
  var device: UInt64 = 0
  return clinux_file_kind(file, &mode, &device) == 0 && mode & UInt32(S_IFMT) == UInt32(S_IFIFO)
}
