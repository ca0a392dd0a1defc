import CRIProtocol
import RuntimeModel

extension UserMapping {
  /// The pod's user namespace as the CRI says it (CRI.md 2.4); nil for the node's.
  /// - Throws: `invalidArgument` naming the field.
  init?(_ request: Runtime_V1_UserNamespace, field: String) throws(RuntimeError) {
    switch request.mode {
    case .node:
      guard request.uids.isEmpty && request.gids.isEmpty else {
        throw RuntimeError(.invalidArgument, "\(field): mappings are set though mode is NODE")
      }
      return nil
    case .pod:
      self.init(
        uids: try Range(request.uids, field: "\(field).uids"), gids: try Range(request.gids, field: "\(field).gids"))
    default:
      throw RuntimeError(.invalidArgument, "\(field).mode: must be POD or NODE")
    }
  }

  /// Whom the kernel would show as nobody cannot be anybody here.
  /// - Throws: `invalidArgument` naming the field.
  func check(_ user: ProcessUser, _ context: Runtime_V1_LinuxContainerSecurityContext) throws(RuntimeError) {
    let field = "linux.security_context"
    let name =
      !context.runAsUsername.isEmpty
      ? "\(field).run_as_username" : context.hasRunAsUser ? "\(field).run_as_user" : "image User"
    try uids.check(user.uid, name)
    try gids.check(user.gid, context.hasRunAsGroup ? "\(field).run_as_group" : "\(name): its group")
    for group in user.groups { try gids.check(group, "\(field).supplemental_groups") }
  }
}

extension UserMapping.Range {
  fileprivate init(_ lines: [Runtime_V1_IDMapping], field: String) throws(RuntimeError) {
    guard lines.count == 1 else {
      throw RuntimeError(.invalidArgument, "\(field): has \(lines.count) mappings; exactly one is supported")
    }
    let line = lines[0]
    guard line.containerID == 0 else {
      throw RuntimeError(.invalidArgument, "\(field)[0].container_id: \(line.containerID), so that id 0 is not mapped")
    }
    guard line.length >= 1 else { throw RuntimeError(.invalidArgument, "\(field)[0].length is 0") }
    guard line.hostID >= 1 else {
      throw RuntimeError(.invalidArgument, "\(field)[0].host_id: 0 would make the node's root the pod's")
    }
    // The last id of all means none.
    guard UInt64(line.hostID) + UInt64(line.length) <= UInt64(UInt32.max) else {
      throw RuntimeError(.invalidArgument, "\(field)[0]: host_id + length is more than \(UInt32.max)")
    }
    self.init(host: line.hostID, count: line.length)
  }

  /// Whether a mount's list of mappings says the same.
  func equals(_ lines: [Runtime_V1_IDMapping]) -> Bool {
    lines.count == 1 && lines[0].containerID == 0 && lines[0].hostID == host && lines[0].length == count
  }

  func check(_ id: UInt32, _ field: String) throws(RuntimeError) {
    guard id < count else {
      throw RuntimeError(.invalidArgument, "\(field): \(id) is not among the \(count) ids of the pod's user namespace")
    }
  }
}
