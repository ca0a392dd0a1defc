internal import CLinux
internal import Glibc
package import RuntimeModel
package import SystemPackage

/// User namespaces for pods, and what file systems make of them (user_namespaces(7), mount_setattr(2)).
package enum UserNamespace {
  package struct Made: Sendable {
    package var users: SharedFD
    /// Owned by `users`, its loopback down; nil where none was asked for.
    package var network: SharedFD?
  }

  /// Makes one that nothing but the descriptors holds. Blocking: about a millisecond with a network namespace.
  ///
  /// If the daemon ends meanwhile, nothing is left.
  /// - Throws: ENOSPC where /proc/sys/user/max_user_namespaces or max_net_namespaces is reached, ENOSYS or EPERM where
  ///   the kernel has none or gives none.
  package static func make(_ mapping: UserMapping, withNetwork: Bool) throws(SystemCallError) -> Made {
    var users: Int32 = -1
    var network: Int32 = -1
    var step: Int32 = 0
    let failed = withUnsafeMutablePointer(to: &network) {
      clinux_make_user_namespace(mapping.uids.range, mapping.gids.range, &users, withNetwork ? $0 : nil, &step)
    }
    guard failed == 0 else {
      throw SystemCallError(
        call: name(of: step), errno: Errno(rawValue: -failed),
        subject: "user namespace (limits: /proc/sys/user/max_user_namespaces and max_net_namespaces)")
    }
    let owned = SharedFD(OwnedFD(owning: users))
    return Made(users: owned, network: withNetwork ? SharedFD(OwnedFD(owning: network)) : nil)
  }

  /// Whether the mount that holds `path`, a path of the node, can be shown with the ids of a user namespace.
  /// - Throws: ENOENT when there is nothing; EINVAL, with the type of the file system, where it cannot.
  package static func tryIDMap(_ path: String, users: SharedFD) throws(SystemCallError) {
    let failed = clinux_try_id_map(path, users.raw)
    guard failed != 0 else { return }
    throw SystemCallError(
      call: "mount_setattr", errno: Errno(rawValue: -failed), subject: "\(path) on \(fileSystem(of: path))")
  }

  /// Whether this kernel makes a tree of mounts read-only in one call.
  package static func canMakeTreesReadonly() -> Bool { clinux_try_recursive_readonly("/") == 0 }

  /// Gives what `path`, a file or directory of ours, names to an owner on the node.
  package static func own(_ path: String, uid: UInt32, gid: UInt32) throws(SystemCallError) {
    try checkedResult("fchown", path) { clinux_own(path, uid, gid) }
  }

  /// The user namespace that a process is in.
  /// - Throws: ENOENT when there is no such process.
  package static func of(pid: Int32) throws(SystemCallError) -> SharedFD {
    SharedFD(try OwnedFD.open("/proc/\(pid)/ns/user", flags: O_RDONLY))
  }

  /// The type of the file system that holds a path, as in /proc/self/mountinfo; `an unknown file system` else.
  package static func fileSystem(of path: String) -> String {
    var number: UInt64 = 0
    guard clinux_mount_number(path, &number) == 0,
      let table = try? readSmallFile("/proc/self/mountinfo", limit: 16 << 20)
    else { return "an unknown file system" }
    for line in String(decoding: table, as: UTF8.self).split(separator: "\n") where line.hasPrefix("\(number) ") {
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count else { continue }
      return String(fields[dash + 1])
    }
    return "an unknown file system"
  }

  private static func name(of step: Int32) -> String {
    switch UInt32(step) {
    case CLINUX_USERS_CLONE.rawValue: "clone3"
    case CLINUX_USERS_UID_MAP.rawValue: "write uid_map of"
    case CLINUX_USERS_GID_MAP.rawValue: "write gid_map of"
    case CLINUX_USERS_OPEN.rawValue: "open"
    default: "prepare"
    }
  }
}

extension UserMapping.Range {
  fileprivate var range: clinux_id_range { clinux_id_range(host: host, count: count) }
}
