internal import Glibc
package import RuntimeModel
internal import SystemPackage

/// The cgroup file systems of the node, as they are mounted, and the making of groups in them.
///
/// Nothing of a group that was there before us is changed, except that on v2 controllers are switched on
/// (never off) in `cgroup.subtree_control` of the groups above ours: without that no limit can be set.
package struct CgroupHierarchy: Sendable, Hashable {
  /// What the node mounts.
  package enum Kind: String, Sendable {
    /// Controllers in v1 hierarchies, no v2 tree.
    case v1
    /// Controllers in v1 hierarchies, and a v2 tree with few or none.
    case hybrid
    /// One v2 tree.
    case unified
  }

  package let kind: Kind
  /// v1: where each controller is mounted; those mounted together share a directory.
  let controllers: [String: String]
  /// Mount point of the v2 tree.
  package let unifiedRoot: String?
  /// v1: distinct mount points in which a group needs a directory.
  let directories: [String]

  /// Controllers that our groups need. What only counts (blkio, perf_event) or has a v2 equivalent in `cgroup.kill`
  /// (freezer) is left out: each further hierarchy costs a container some 40 us.
  static let wanted = ["memory", "cpu", "cpuacct", "cpuset", "pids", "devices", "hugetlb"]
  /// The same in v2's words; devices is a BPF program there and cpuacct part of cpu.
  static let wantedUnified = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"]

  /// - Parameters:
  ///   - controllers: v1 controller to mount point; empty on a node with v2 alone.
  ///   - unifiedRoot: mount point of the v2 tree.
  package init(controllers: [String: String], unifiedRoot: String?) {
    self.controllers = controllers
    self.unifiedRoot = unifiedRoot
    kind = controllers.isEmpty ? .unified : unifiedRoot == nil ? .v1 : .hybrid
    var wanted = Self.wanted
    // Without cgroup.kill (v2, Linux 5.14) a tree that forks faster than we kill is stopped by the freezer.
    if unifiedRoot == nil { wanted.append("freezer") }
    var directories: [String] = []
    for case let directory? in wanted.map({ controllers[$0] }) where !directories.contains(directory) {
      directories.append(directory)
    }
    self.directories = directories
  }

  /// Reads `/proc/self/mountinfo` (proc(5)).
  ///
  /// - Throws: ENODEV when no cgroup file system is mounted.
  package init(mountinfo text: String) throws(SystemCallError) {
    let known = Set(Self.wanted + ["freezer", "blkio", "net_cls", "net_prio", "perf_event", "rdma", "misc"])
    var controllers: [String: String] = [:]
    var unified: String?
    for line in text.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard let dash = fields.firstIndex(of: "-"), fields.count > dash + 3, dash > 5 else { continue }
      let mountPoint = Self.unescaped(fields[4])
      switch fields[dash + 1] {
      case "cgroup2" where unified == nil: unified = mountPoint
      case "cgroup":
        for option in fields[dash + 3].split(separator: ",") where known.contains(String(option)) {
          if controllers[String(option)] == nil { controllers[String(option)] = mountPoint }
        }
      default: continue
      }
    }
    guard unified != nil || !controllers.isEmpty else {
      throw SystemCallError(call: "find", errno: Errno(rawValue: ENODEV), subject: "cgroup in /proc/self/mountinfo")
    }
    self.init(controllers: controllers, unifiedRoot: unified)
  }

  /// The group at a path, made or not; for records read back.
  package func cgroup(at path: String) -> Cgroup { Cgroup(hierarchy: self, path: path) }

  /// Makes a group in every hierarchy, with what is missing above it. Idempotent.
  ///
  /// - Parameters:
  ///   - path: absolute, as ``checkedPath(_:)`` lets it through.
  ///   - hasLimits: whether controllers are to be there for it.
  /// - Throws: EINVAL for another path; what mkdir and the writes met. What was made is left for ``Cgroup/remove``.
  package func create(path: String, hasLimits: Bool = true) throws(SystemCallError) -> Cgroup {
    do {
      _ = try Self.checkedPath(path)
    } catch {
      throw SystemCallError(call: "create", errno: .invalidArgument, subject: error.message)
    }
    let cpuset = controllers["cpuset"]
    for root in directories {
      try makeDirectories(root, path) { (parent, directory) throws(SystemCallError) in
        if root == cpuset { try Self.inheritCpuset(from: parent, to: directory) }
      }
    }
    if let unifiedRoot {
      if kind == .unified, hasLimits { enableControllers(above: path, root: unifiedRoot) }
      try makeDirectories(unifiedRoot, path) { (_, _) throws(SystemCallError) in }
    }
    return Cgroup(hierarchy: self, path: path)
  }

  /// The parent group that a client asks for (ATTACKS.md L30).
  ///
  /// - Returns: `text` without a slash at its end.
  /// - Throws: `.invalidArgument` unless it is absolute, at most 32 deep and 1024 bytes long, and without empty, `.`
  ///   and `..` components, bytes below 0x21 and semicolons.
  package static func checkedPath(_ text: String) throws(RuntimeError) -> String {
    let slash = UInt8(ascii: "/")
    let trimmed = text.utf8.count > 1 && text.utf8.last == slash ? Substring(text.utf8.dropLast()) : text[...]
    guard trimmed.utf8.count <= 1024 else {
      throw RuntimeError(.invalidArgument, "cgroup_parent is longer than 1024 bytes")
    }
    let components = trimmed.utf8.split(separator: slash, omittingEmptySubsequences: false).dropFirst()
    let isPlain = components.allSatisfy { part in
      !part.isEmpty && !part.elementsEqual(".".utf8) && !part.elementsEqual("..".utf8) && part.count <= 255
        && part.allSatisfy { $0 > 0x20 && $0 != 0x7f && $0 != UInt8(ascii: ";") }
    }
    guard trimmed.hasPrefix("/"), isPlain, (1...32).contains(components.count) else {
      throw RuntimeError(.invalidArgument, "cgroup_parent \"\(text.prefix(100))\" is not a plain absolute path")
    }
    return String(trimmed)
  }

  /// - Parameter made: told of each directory that was made, with the one above it.
  private func makeDirectories(
    _ root: String, _ path: String, made: (String, String) throws(SystemCallError) -> Void
  ) throws(SystemCallError) {
    let directory = root + path
    let parent = String(directory[..<(directory.lastIndex(of: "/") ?? directory.endIndex)])
    do throws(SystemCallError) {
      guard try Self.makeDirectory(directory) else { return }
    } catch {
      guard error.errno == .noSuchFileOrDirectory, parent.utf8.count > root.utf8.count else { throw error }
      try makeDirectories(root, String(parent.dropFirst(root.count)), made: made)
      _ = try Self.makeDirectory(directory)
    }
    try made(parent, directory)
  }

  /// A group's directory that everybody may read, whatever the umask: on v2 it is what a container sees as
  /// /sys/fs/cgroup, and programs that are not root look there for their limits.
  /// - Returns: false when it was there.
  static func makeDirectory(_ path: String) throws(SystemCallError) -> Bool {
    guard mkdir(path, 0o755) == 0 else {
      if errno == EEXIST { return false }
      throw SystemCallError(call: "mkdir", subject: path)
    }
    guard chmod(path, 0o755) == 0 else { throw SystemCallError(call: "chmod", subject: path) }
    return true
  }

  /// A v1 cpuset is born empty and takes no process until it has processors and memory nodes (cpuset(7)).
  private static func inheritCpuset(from parent: String, to directory: String) throws(SystemCallError) {
    // Groups below ones of ours are born filled: see clone_children.
    let mems = try readSmallFile("\(directory)/cpuset.mems", limit: 65_536)
    if mems.contains(where: { $0 > 0x20 }) { return }
    // The one above may be another thread's, made a moment ago and not filled yet. The topmost always is.
    if let slash = parent.lastIndex(of: "/") { try inheritCpuset(from: String(parent[..<slash]), to: parent) }
    for file in ["cpuset.cpus", "cpuset.mems"] {
      let value = try readSmallFile("\(parent)/\(file)", limit: 65_536)
      let text = String(decoding: value.prefix { $0 > 0x20 }, as: UTF8.self)
      try writeKernelFile("\(directory)/\(file)", text)
    }
    try writeKernelFile("\(directory)/cgroup.clone_children", "1")
  }

  /// Best effort: a group above ours that cannot have a controller shows when a limit of it is set.
  private func enableControllers(above path: String, root: String) {
    var directory = root
    for component in path.pathComponents {
      guard (try? Self.makeDirectory(directory)) != nil else { return }
      let available = Self.words("\(directory)/cgroup.controllers")
      let missing = available.intersection(Self.wantedUnified)
        .subtracting(Self.words("\(directory)/cgroup.subtree_control"))
      if !missing.isEmpty, Self.mayHaveControllersBelow(directory) {
        for controller in missing { try? writeKernelFile("\(directory)/cgroup.subtree_control", "+\(controller)") }
      }
      directory += "/\(component)"
    }
  }

  /// False for a group with processes in it. Some controllers (cpu, pids) could be switched on there all the same, but
  /// that would make it the root of a threaded tree, and no process could be put into any group below it. The tree's
  /// own root, which has no type, may have both.
  private static func mayHaveControllersBelow(_ directory: String) -> Bool {
    guard access("\(directory)/cgroup.type", F_OK) == 0 else { return true }
    guard let processes = try? readSmallFile("\(directory)/cgroup.procs", limit: 64 << 20) else { return false }
    return processes.isEmpty
  }

  static func words(_ path: String) -> Set<String> {
    guard let bytes = try? readSmallFile(path, limit: 65_536) else { return [] }
    return Set(String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace).map(String.init))
  }

  /// Undoes the octal escapes of mountinfo.
  private static func unescaped(_ field: Substring) -> String {
    guard field.contains("\\") else { return String(field) }
    var bytes: [UInt8] = []
    var rest = Array(field.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
