import CRIProtocol
import LinuxSystem
import RuntimeModel

/// The kernel's security modules that the CRI has fields for. We apply neither; what asks for one is refused, so that
/// nobody believes to be confined who is not.
struct SecurityModules: Sendable, Hashable {
  var hasAppArmor: Bool
  var hasSELinux: Bool

  /// This node's, looked at once.
  static let node = SecurityModules(
    hasAppArmor: says("/sys/module/apparmor/parameters/enabled", "Y"),
    // There as soon as a policy can be loaded and selinuxfs is mounted.
    hasSELinux: says("/sys/fs/selinux/enforce", "0") || says("/sys/fs/selinux/enforce", "1"))

  private static func says(_ path: String, _ answer: String) -> Bool {
    guard let text = try? HostFiles.read(path) else { return false }
    return text.hasPrefix(answer)
  }

  /// - Parameter context: path of the security context in the request, for errors.
  /// - Throws: `failedPrecondition` where the kernel has no such module, `unimplemented` where it has, `invalidArgument`.
  func check(_ security: Runtime_V1_LinuxContainerSecurityContext, context: String) throws(RuntimeError) {
    try check(security.hasApparmor ? security.apparmor : nil, text: security.apparmorProfile, context)
    try check(security.hasSelinuxOptions ? security.selinuxOptions : nil, context)
  }

  func check(_ security: Runtime_V1_LinuxSandboxSecurityContext, context: String) throws(RuntimeError) {
    try check(security.hasApparmor ? security.apparmor : nil, text: "", context)
    try check(security.hasSelinuxOptions ? security.selinuxOptions : nil, context)
  }

  /// The structured form wins over the text.
  private func check(
    _ profile: Runtime_V1_SecurityProfile?, text: String, _ context: String
  ) throws(RuntimeError) {
    if let profile {
      let field = "\(context).apparmor"
      if profile.profileType != .localhost && !profile.localhostRef.isEmpty {
        throw RuntimeError(.invalidArgument, "\(field).localhost_ref is set though profile_type is not Localhost")
      }
      if case .UNRECOGNIZED(let value) = profile.profileType {
        throw RuntimeError(.invalidArgument, "\(field).profile_type: \(value) is not a profile type")
      }
      if profile.profileType != .unconfined { throw refusal(field, "AppArmor", hasAppArmor) }
      return
    }
    let field = "\(context).apparmor_profile"
    switch text {
    case "", "unconfined": return
    case "runtime/default",
      _ where text.hasPrefix("localhost/"):
      throw refusal(field, "AppArmor", hasAppArmor)
    default: throw RuntimeError(.invalidArgument, "\(field): \"\(text.prefix(256))\" is not a profile")
    }
  }

  private func check(_ options: Runtime_V1_SELinuxOption?, _ context: String) throws(RuntimeError) {
    guard let options else { return }
    for (name, value) in [
      ("user", options.user), ("role", options.role), ("type", options.type), ("level", options.level),
    ] where !value.isEmpty {
      throw refusal("\(context).selinux_options.\(name)", "SELinux", hasSELinux)
    }
  }

  private func refusal(_ field: String, _ module: String, _ isOn: Bool) -> RuntimeError {
    isOn
      ? RuntimeError(.unimplemented, "\(field): swiftletd does not apply \(module) yet")
      : RuntimeError(.failedPrecondition, "\(field): \(module) is not enabled in this node's kernel")
  }
}
