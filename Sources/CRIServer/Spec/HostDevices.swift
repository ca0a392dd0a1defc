import Glibc
import LinuxSystem
import RuntimeModel

/// The node's device nodes, looked at when a request needs them.
struct HostDevices: Sendable {
  struct Node: Sendable {
    var path: String
    /// Of a device in a directory that was looked for: `/` and its path from there; empty for one found by its own path.
    var below = ""
    var type: String
    var major: UInt32
    var minor: UInt32
    var mode: UInt32
    var uid: UInt32
    var gid: UInt32
  }

  /// Names in /dev that a container has of its own; elsewhere they are names like others.
  private static let own: Set<String> = ["pts", "shm", "mqueue", "fd", "console", "ptmx", "core"]

  /// Names that are looked at below one directory; more are no directory of devices.
  private static let mostNames = 20_000

  /// Everything below /dev, for privileged containers.
  var all: [Node] {
    var budget = Self.mostNames
    return Self.walk("/dev", depth: 0, &budget)
  }

  /// The device at `path`, links followed, or every device below it when it is a directory; nil when there is nothing.
  ///
  /// - Parameter field: what the request calls the path, for the error.
  /// - Throws: `invalidArgument` when the directory holds too much to be one of devices.
  func find(_ path: String, field: String) throws(RuntimeError) -> [Node]? {
    guard path.hasPrefix("/") else { return nil }
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    if status.st_mode & S_IFMT == S_IFDIR {
      var budget = Self.mostNames
      let found = Self.walk(path, depth: 0, &budget)
      guard budget >= 0 else {
        throw RuntimeError(.invalidArgument, "\(field): \(path) holds more than \(Self.mostNames) files")
      }
      return found.map { node in
        var node = node
        node.below = String(decoding: node.path.utf8.dropFirst(path.utf8.count), as: UTF8.self)
        return node
      }
    }
    return Self.node(path, status).map { [$0] } ?? []
  }

  /// - Parameter budget: of names; below 0 when it did not suffice.
  private static func walk(_ directory: String, depth: Int, _ budget: inout Int) -> [Node] {
    guard depth < 8 else { return [] }
    var nodes: [Node] = []
    let isDev = MountPlan.cleaned(directory) == "/dev"
    for name in fileNames(directory) where !isDev || !own.contains(name) {
      budget -= 1
      guard budget >= 0 else { return nodes }
      let path = directory + "/" + name
      var status = stat()
      guard lstat(path, &status) == 0 else { continue }
      if status.st_mode & S_IFMT == S_IFDIR {
        nodes += walk(path, depth: depth + 1, &budget)
      } else if let node = node(path, status) {
        nodes.append(node)
      }
    }
    return nodes
  }

  private static func node(_ path: String, _ status: stat) -> Node? {
    let type: String
    switch status.st_mode & S_IFMT {
    case S_IFCHR: type = "c"
    case S_IFBLK: type = "b"
    default: return nil
    }
    return Node(
      path: path, type: type, major: major(status.st_rdev), minor: minor(status.st_rdev),
      mode: status.st_mode & 0o7777, uid: status.st_uid, gid: status.st_gid)
  }

  /// Linux's encoding of a device number: 12 bits of major above 8 of minor, and the rest of each above (makedev(3)).
  private static func major(_ device: UInt) -> UInt32 { UInt32(device >> 8 & 0xfff | device >> 32 & 0xffff_f000) }
  private static func minor(_ device: UInt) -> UInt32 { UInt32(device & 0xff | device >> 12 & 0xffff_ff00) }
}
