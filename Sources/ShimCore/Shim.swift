import CLinux
import CShimMessages

/// One pod's supervisor: everything that it holds. What it does is in the extensions, by topic.
final class Shim {
  /// An end that nobody has acknowledged yet.
  struct ExitRecord {
    let sequence: UInt64
    /// Empty for pause.
    let containerID: String
    let exitCode: Int32
    let outOfMemory: Bool
    let finishedAt: Int64
    /// 0 for pause.
    var startedAt: Int64 = 0
    /// Of its log.
    var lostBytes: UInt64 = 0
  }

  /// Pause from its clone to its end.
  enum Sandbox {
    case none
    case starting(PauseStart)
    case running
    case ended
  }

  let id: String
  let loop: Loop
  let scratch: Scratch
  let trouble: TroubleLog
  var sandbox = Sandbox.none
  var sandboxID = ""
  var pod = Pod(pausePid: 0, pausePidfd: -1, selfPidNamespace: -1, shmMount: -1)
  var pauseStartTime: UInt64 = 0
  var tasks: [ShimTask] = []
  var execs: [Exec] = []
  /// Bytes of output that all execs hold together.
  var execBytes = 0
  var exits: [ExitRecord] = []
  var lastSequence: UInt64 = 0
  var waiter: Call?
  var waiterTimer: Loop.TimerToken = 0
  var stopCalls: [Call] = []
  /// StopSandbox has been asked for: nothing starts any more.
  var stopping = false
  var connections: [Connection] = []
  /// Readable when a child has ended.
  var signals: Int32 = -1
  private var leaveTimer: Loop.TimerToken = 0

  init(id: String, loop: Loop, scratch: Scratch, trouble: TroubleLog) {
    self.id = id
    self.loop = loop
    self.scratch = scratch
    self.trouble = trouble
  }

  /// Serves until the pod is over.
  func run() {
    scheduleLeave()
    loop.run()
  }

  func task(_ id: UnsafePointer<CChar>?) -> ShimTask? {
    for task in tasks where task.id.matches(id) { return task }
    return nil
  }

  /// The pod can have processes.
  func requireRunningSandbox() throws(Refusal) {
    if stopping { throw Refusal(.failedPrecondition, "sandbox \(id): is being stopped") }
    switch sandbox {
    case .running: return
    case .none, .starting: throw Refusal(.failedPrecondition, "sandbox \(id): not started")
    case .ended: throw Refusal(.failedPrecondition, "sandbox \(id): its pause process has ended")
    }
  }

  /// Pause is gone or never was, and so are all others.
  var isEmpty: Bool {
    switch sandbox {
    case .none, .ended: tasks.isEmpty && execs.isEmpty
    case .starting, .running: false
    }
  }

  // MARK: - leaving

  private static let leaveAfterPod: Int64 = 1_000_000_000
  private static let leaveUnused: Int64 = 60_000_000_000

  /// Nothing is left that anybody could ask for, now or (a sandbox never started, no client) in a while.
  private var mayLeave: Bool {
    if case .none = sandbox { return connections.isEmpty && tasks.isEmpty }
    return isEmpty && exits.isEmpty
  }

  /// To be called whenever `mayLeave` may have become true. Time is left for a Shutdown, which is the usual end.
  func scheduleLeave() {
    guard leaveTimer == 0, mayLeave else { return }
    var delay = Shim.leaveAfterPod
    if case .none = sandbox { delay = Shim.leaveUnused }
    leaveTimer = loop.after(delay) {
      self.leaveTimer = 0
      if self.mayLeave { self.leave() } else { self.scheduleLeave() }
    }
  }

  /// Answers what waits, lets the answers out, ends the loop.
  func leave() {
    dismissWaiter()
    for connection in connections where !connection.isFlushed {
      _ = loop.after(Shim.leaveAfterPod) { self.loop.end() }
      return
    }
    loop.end()
  }
}
