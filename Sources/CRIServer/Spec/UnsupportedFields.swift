import CRIProtocol
import RuntimeModel

/// The fields of a request that are understood but not built yet. None is ever ignored silently: each is refused by name.
enum UnsupportedFields {
  /// - Throws: `unimplemented` or `failedPrecondition` naming the field.
  static func check(_ config: Runtime_V1_ContainerConfig) throws(RuntimeError) {
    let security = config.linux.securityContext
    let context = "linux.security_context"
    if config.hasWindows && !config.hasLinux { throw RuntimeError(.invalidArgument, "windows: this node runs Linux") }
    try refuse(config.tty, "tty")
    try check(
      apparmor: security.hasApparmor ? security.apparmor : nil, profile: security.apparmorProfile, context: context)
  }

  /// - Throws: `unimplemented` or `failedPrecondition` naming the field.
  static func check(_ config: Runtime_V1_PodSandboxConfig) throws(RuntimeError) {
    let security = config.linux.securityContext
    let context = "config.linux.security_context"
    if config.hasWindows && !config.hasLinux {
      throw RuntimeError(.invalidArgument, "config.windows: this node runs Linux")
    }
    if security.hasRunAsGroup && !security.hasRunAsUser {
      throw RuntimeError(.invalidArgument, "\(context).run_as_group is set without run_as_user")
    }
    try check(
      apparmor: security.hasApparmor ? security.apparmor : nil, profile: "", context: context)
  }

  private static func check(
    apparmor: Runtime_V1_SecurityProfile?, profile: String, context: String
  ) throws(RuntimeError) {
    if let apparmor {
      try refuse(apparmor.profileType != .unconfined, "\(context).apparmor", because: "AppArmor profiles are")
    } else {
      try refuse(
        !["", "unconfined"].contains(profile), "\(context).apparmor_profile", because: "AppArmor profiles are")
    }
  }

  private static func refuse(
    _ isAsked: Bool, _ field: String, because subject: String = "this is"
  ) throws(RuntimeError) {
    if isAsked { throw RuntimeError(.unimplemented, "\(field): \(subject) not supported yet") }
  }
}
