internal import CSeccomp
internal import Glibc

/// What happens to a call: SCMP_ACT_* of a profile.
enum ProfileAction: Sendable, Hashable {
  case killThread, killProcess, trap, log, allow
  /// The call answers this errno.
  case errno(UInt16)
  /// A tracer gets this message; without one the call is ENOSYS.
  case trace(UInt16)

  /// The kernel's MAX_ERRNO: it would cut a larger one down.
  private static let largestErrno: UInt32 = 4095

  /// - Parameters:
  ///   - errno: errnoRet; nil: EPERM where the action has one.
  ///   - place: in the profile, for errors.
  init(_ name: String, errno: UInt32?, place: String) throws(SeccompError) {
    let number = errno ?? UInt32(EPERM)
    switch name {
    case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD": self = .killThread
    case "SCMP_ACT_KILL_PROCESS": self = .killProcess
    case "SCMP_ACT_TRAP": self = .trap
    case "SCMP_ACT_LOG": self = .log
    case "SCMP_ACT_ALLOW": self = .allow
    case "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE":
      let isErrno = name == "SCMP_ACT_ERRNO"
      let limit = isErrno ? Self.largestErrno : UInt32(UInt16.max)
      guard number <= limit else {
        throw .profile(place: place, reason: "errno \(number) is above \(limit)")
      }
      self = isErrno ? .errno(UInt16(number)) : .trace(UInt16(number))
      return
    case "SCMP_ACT_NOTIFY":
      throw .profile(place: place, reason: "SCMP_ACT_NOTIFY is not supported: there is no agent to be notified")
    default: throw .profile(place: place, reason: "\"\(name.prefix(64))\" is not an action")
    }
    guard errno == nil else { throw .profile(place: place, reason: "\(name) has no errno") }
  }

  var libraryValue: UInt32 {
    switch self {
    case .killThread: cseccomp_kill_thread_action()
    case .killProcess: cseccomp_kill_process_action()
    case .trap: cseccomp_trap_action()
    case .log: cseccomp_log_action()
    case .allow: cseccomp_allow_action()
    case .errno(let number): cseccomp_errno_action(number)
    case .trace(let message): cseccomp_trace_action(message)
    }
  }

  /// Whether a call that meets it does not happen. A tracer may let it go on.
  var isRestrictive: Bool {
    switch self {
    case .killThread, .killProcess, .trap, .errno: true
    case .log, .allow, .trace: false
    }
  }
}
