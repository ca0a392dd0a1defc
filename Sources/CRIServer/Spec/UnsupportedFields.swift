import CRIProtocol
import RuntimeModel

/// The fields of a request that are not for this node, or not built yet. None is ever ignored silently: each is refused by
/// name.
enum UnsupportedFields {
  /// - Throws: `unimplemented` or `failedPrecondition` naming the field.
  static func check(
    _ config: Runtime_V1_ContainerConfig, modules: SecurityModules = .node
  ) throws(RuntimeError) {
    let security = config.linux.securityContext
    if config.hasWindows { throw RuntimeError(.invalidArgument, "windows: this node runs Linux") }
    try modules.check(security, context: "linux.security_context")
  }

  /// - Throws: `unimplemented` or `failedPrecondition` naming the field.
  static func check(
    _ config: Runtime_V1_PodSandboxConfig, modules: SecurityModules = .node
  ) throws(RuntimeError) {
    let security = config.linux.securityContext
    let context = "config.linux.security_context"
    if config.hasWindows { throw RuntimeError(.invalidArgument, "config.windows: this node runs Linux") }
    if security.hasRunAsGroup && !security.hasRunAsUser {
      throw RuntimeError(.invalidArgument, "\(context).run_as_group is set without run_as_user")
    }
    try modules.check(security, context: context)
  }
}
