import CRIProtocol
import RuntimeModel

/// Which sysctls a pod may set: those of a namespace that it has for itself. Which of them are safe is kubelet's to say;
/// here it is told whose they are (ATTACKS L29). The shim looks once more, at what it is about to write.
enum SysctlRules {
  /// ipc_namespaces(7).
  private static let ofIPC: Set<String> = [
    "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni",
    "kernel/shm_rmid_forced",
  ]
  private static let longestName = 255
  private static let longestValue = 4096

  /// - Parameter requested: names with dots or slashes, and values.
  /// - Throws: `invalidArgument` naming the key: no name, no value, twice the same, not namespaced, or of a namespace
  ///   that is the node's.
  static func check(_ requested: [String: String], namespaces: NamespaceChoice) throws(RuntimeError) {
    var seen: [String: String] = [:]
    for (name, value) in requested.sorted(by: { $0.key < $1.key }) {
      let field = "config.linux.sysctls[\"\(name.prefix(64))\"]"
      guard let path = path(of: name) else {
        throw RuntimeError(
          .invalidArgument,
          "\(field): a name is letters, digits, '-' and '_' between dots, or between slashes, and not both")
      }
      if let other = seen.updateValue(name, forKey: path) {
        throw RuntimeError(.invalidArgument, "\(field): is \"\(other)\" once more")
      }
      guard !value.isEmpty, value.utf8.count <= longestValue, value.utf8.allSatisfy({ $0 >= 0x20 || $0 == 0x09 })
      else { throw RuntimeError(.invalidArgument, "\(field): the value is empty, too long, or more than one line") }
      try check(path, field, namespaces)
    }
  }

  private static func check(_ path: String, _ field: String, _ namespaces: NamespaceChoice) throws(RuntimeError) {
    if path.hasPrefix("net/") {
      guard !namespaces.hasHostNetwork else {
        throw RuntimeError(.invalidArgument, "\(field): the pod uses the node's network namespace")
      }
    } else if ofIPC.contains(path) || path.hasPrefix("fs/mqueue/") {
      guard namespaces.ipc != .node else {
        throw RuntimeError(.invalidArgument, "\(field): the pod uses the node's ipc namespace")
      }
    } else if path == "kernel/hostname" || path == "kernel/domainname" {
      throw RuntimeError(.invalidArgument, "\(field): config.hostname sets the pod's name")
    } else {
      throw RuntimeError(.invalidArgument, "\(field): is not namespaced and would change the node")
    }
  }

  /// The path below /proc/sys; nil when it is no name.
  private static func path(of name: String) -> String? {
    let separators = Set(name.utf8.filter { $0 == 0x2e || $0 == 0x2f })
    guard separators.count <= 1, name.utf8.count <= longestName else { return nil }
    let parts = name.split(omittingEmptySubsequences: false) { $0 == "." || $0 == "/" }
    guard parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy(isNameByte) }) else { return nil }
    return parts.joined(separator: "/")
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x5f: true
    default: false
    }
  }
}
