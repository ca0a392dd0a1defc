// What the supervisor (this side) and the code that makes processes (Clone*.swift, Child*.swift) say to each other.

/// The pod's first process and what it holds for the rest; made once by StartSandbox.
struct Pod {
  /// In the node's PID namespace.
  var pausePid: Int32
  /// Names pause for setns, also when the pid has been reused.
  var pausePidfd: Int32
  /// The PID namespace that this process was born in, for children that stay in the node's.
  var selfPidNamespace: Int32
  /// A tmpfs that becomes the containers' /dev/shm, or -1.
  var shmMount: Int32
  /// Whether pause's mount namespace has that tmpfs instead, because this kernel copies no detached mount.
  var shmInPause = false
  /// CLONE_NEW* of pause's namespaces that are the pod's own and that containers join (network, IPC, UTS).
  var namespaces: UInt64 = 0
  /// Whether pause is PID 1 of a namespace that containers share.
  var hasPidNamespace = false
  /// The pod's user namespace, which owns the others; nil: the node's.
  var users: PodUsers?
}

/// A user namespace whose ids are one run of the node's each, from 0 inside.
struct PodUsers {
  let descriptor: Int32
  /// What 0 is on the node.
  let uid: UInt32
  let gid: UInt32
}

/// A child's three descriptors, or our ends of them; close-on-exec in this process.
struct Stdio {
  var input: Int32
  var output: Int32
  var error: Int32
  /// Of a child: what it makes for itself instead of the three.
  var terminal: NewTerminal?
}

/// A terminal that a child makes for itself, of its container's devpts.
struct NewTerminal {
  /// Takes the master; the child's copy ends with exec.
  var socket: Int32
  /// Columns and rows; 0: unknown.
  var width: UInt16 = 0
  var height: UInt16 = 0
  /// It is shown at /dev/console, too.
  var isConsole = false
}

/// Which step of a start failed, with what errno, on which object.
struct StepFailure: Error {
  var step: String
  var errno: Int32
  var subject: String
}

/// What came of a clone.
struct CloneOutcome {
  /// In the node's PID namespace; -1 when `failure` is set.
  var pid: Int32
  var pidfd: Int32
  /// A pipe's read end: end of file means that the program was exec'd, anything else is a step failure.
  var status: Int32
  /// The clone itself failed: there is no process.
  var failure: StepFailure?
}
