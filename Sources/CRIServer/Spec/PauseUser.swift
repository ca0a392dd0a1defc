import CRIProtocol
import RuntimeModel

/// Who a sandbox's pause is: numbers only, since it has no image.
struct PauseUser: Sendable, Hashable {
  var uid: UInt32 = 0
  var gid: UInt32 = 0
  /// Sorted, without duplicates, with `gid`.
  var groups: [UInt32]

  /// - Throws: `invalidArgument` naming the field.
  init(_ context: Runtime_V1_LinuxSandboxSecurityContext, users: UserMapping?) throws(RuntimeError) {
    let field = "config.linux.security_context"
    if context.hasRunAsUser { uid = try Self.number(context.runAsUser.value, users?.uids, "\(field).run_as_user") }
    if context.hasRunAsGroup { gid = try Self.number(context.runAsGroup.value, users?.gids, "\(field).run_as_group") }
    var all: Set<UInt32> = [gid]
    for group in context.supplementalGroups {
      all.insert(try Self.number(group, users?.gids, "\(field).supplemental_groups"))
    }
    groups = all.sorted()
    if case .UNRECOGNIZED(let value) = context.supplementalGroupsPolicy {
      throw RuntimeError(.invalidArgument, "\(field).supplemental_groups_policy: \(value) is not a policy")
    }
  }

  private static func number(
    _ value: Int64, _ range: UserMapping.Range?, _ field: String
  ) throws(RuntimeError) -> UInt32 {
    guard let number = UInt32(exactly: value), number <= 0x7fff_ffff else {
      throw RuntimeError(.invalidArgument, "\(field): \(value) is not in 0...2147483647")
    }
    try range?.check(number, field)
    return number
  }
}
