import Glibc
import RuntimeModel

/// The node's mounts, as far as a bind mount's propagation depends on them (proc_pid_mountinfo(5)).
struct HostMounts: Sendable {
  enum Propagation: Sendable { case `private`, slave, shared }

  private let mounts: [(point: String, propagation: Propagation)]

  /// - Parameter mountinfo: the text of /proc/self/mountinfo.
  init(mountinfo: String) {
    mounts = mountinfo.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 6 else { return nil }
      let optional = fields[6...].prefix { $0 != "-" }
      let propagation: Propagation =
        optional.contains { $0.hasPrefix("shared:") }
        ? .shared : optional.contains { $0.hasPrefix("master:") } ? .slave : .private
      return (Self.unescaped(fields[4]), propagation)
    }
  }

  /// Where a path of the node leads once its links are followed; itself where that is nowhere.
  func resolved(_ path: String) -> String {
    guard let found = realpath(path, nil) else { return path }
    defer { free(found) }
    return String(cString: found)
  }

  /// Of the mount that holds `path`; the last of several on one point is the visible one.
  func propagation(of path: String) -> Propagation {
    var best = (length: -1, propagation: Propagation.private)
    for mount in mounts where Self.holds(mount.point, path) && mount.point.utf8.count >= best.length {
      best = (mount.point.utf8.count, mount.propagation)
    }
    return best.propagation
  }

  private static func holds(_ point: String, _ path: String) -> Bool {
    point == "/" || path == point || path.isBelow(point)
  }

  /// Space, tab, newline and backslash come as octal.
  private static func unescaped(_ field: Substring) -> String {
    var text = String(field)
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
      text = text.split(separator: escape, omittingEmptySubsequences: false).joined(separator: character)
    }
    return text
  }
}
