internal import Glibc
internal import SystemPackage

/// One group of processes in every hierarchy: v1, hybrid and v2 behind one type.
package struct Cgroup: Sendable, Hashable {
  package let hierarchy: CgroupHierarchy
  /// Absolute, below each mount point.
  package let path: String

  init(hierarchy: CgroupHierarchy, path: String) {
    self.hierarchy = hierarchy
    self.path = path
  }

  /// The node's hierarchies, from `/proc/self/mountinfo`.
  ///
  /// - Throws: ENODEV when none is mounted.
  package static func mounted() throws(SystemCallError) -> CgroupHierarchy {
    let bytes = try readSmallFile("/proc/self/mountinfo", limit: 16 << 20)
    return try CgroupHierarchy(mountinfo: String(decoding: bytes, as: UTF8.self))
  }

  /// Makes a group below this one, for killing what is in it; it has no limits but this one's. On v2 this group has
  /// processes, and controllers for groups below would make it the root of a threaded tree, whose other groups take
  /// no process (cgroups(7), "no internal processes": EOPNOTSUPP).
  package func leaf(_ name: String) throws(SystemCallError) -> Cgroup {
    try hierarchy.create(path: "\(path)/\(name)", hasLimits: false)
  }

  /// v1 and hybrid: the directories whose `tasks` a single-threaded process writes "0" to, to move itself there. Empty
  /// on v2.
  package var joinDirectories: [String] { hierarchy.directories.map { $0 + path } }

  /// The directory in the v2 tree, joined by clone3 with CLONE_INTO_CGROUP: on v2 and hybrid; nil on v1.
  package var unifiedDirectory: String? { hierarchy.unifiedRoot.map { $0 + path } }

  /// v1 and hybrid: this group's directory in each hierarchy that it is made in, under every name that programs look for
  /// it by: the controllers', and that of the mount point (`cpu,cpuacct`, `unified`). Sorted.
  package var named: [(name: String, directory: String)] {
    var roots = hierarchy.controllers.filter { hierarchy.directories.contains($0.value) }
    for root in hierarchy.directories + (hierarchy.unifiedRoot.map { [$0] } ?? []) {
      roots[String(root[root.index(after: root.lastIndex(of: "/") ?? root.startIndex)...])] = root
    }
    return roots.sorted { $0.key < $1.key }.map { ($0.key, $0.value + path) }
  }

  /// Where the kernel counts OOM kills: `memory.events` (v2), `memory.oom_control` (v1); empty without the controller.
  package var memoryEventsPath: String {
    if hierarchy.kind == .unified { return "\(unifiedDirectory ?? "")/memory.events" }
    return directory(of: "memory").map { "\($0)/memory.oom_control" } ?? ""
  }

  /// The directory that holds a controller's files; nil where the node has no such controller.
  package func directory(of controller: String) -> String? {
    if hierarchy.kind == .unified { return unifiedDirectory }
    return hierarchy.controllers[controller].map { $0 + path }
  }

  /// True when the group is there, in the hierarchy that its processes are counted in.
  package var exists: Bool { countingDirectory.map { access($0, F_OK) == 0 } ?? false }

  /// Every process in this group and the groups below it.
  ///
  /// - Returns: nothing for a group that is not there.
  package func processes() throws(SystemCallError) -> [Int32] {
    guard let countingDirectory else { return [] }
    return try Self.processes(below: countingDirectory)
  }

  /// Removes the group and the groups below it, once their processes have ended. Idempotent.
  ///
  /// Blocks its thread: for a ``BlockingPool``.
  /// - Parameter deadline: how long to wait for the last process to leave.
  /// - Throws: EBUSY when a process was still there at the deadline.
  package func remove(deadline: Duration = .seconds(5)) throws(SystemCallError) {
    let end = ContinuousClock.now + deadline
    var first: SystemCallError?
    // The v2 tree first: it alone tells when the last process has left.
    for directory in (unifiedDirectory.map { [$0] } ?? []) + joinDirectories {
      do {
        try Self.removeDirectory(directory, end: end, isTop: true)
      } catch {
        first = first ?? error
      }
    }
    if let first { throw first }
  }

  /// v2 counts in its one tree, v1 where pids are limited.
  private var countingDirectory: String? {
    if hierarchy.kind == .unified { return unifiedDirectory }
    return directory(of: "pids") ?? joinDirectories.first ?? unifiedDirectory
  }

  private static func processes(below directory: String) throws(SystemCallError) -> [Int32] {
    let bytes: [UInt8]
    do {
      bytes = try readSmallFile("\(directory)/cgroup.procs", limit: 64 << 20)
    } catch {
      // ENODEV: removed after it was opened.
      if error.errno == .noSuchFileOrDirectory || error.errno == Errno(rawValue: ENODEV) { return [] }
      throw error
    }
    var pids = bytes.split(separator: UInt8(ascii: "\n")).compactMap { Int32(String(decoding: $0, as: UTF8.self)) }
    for child in children(of: directory) { pids += try processes(below: child) }
    return pids
  }

  static func children(of directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
      guard entry.pointee.d_type == UInt8(DT_DIR) else { continue }
      let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
        tuple.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append("\(directory)/\(name)") }
    }
    return names
  }

  // MARK: Removing

  private static func removeDirectory(
    _ directory: String, end: ContinuousClock.Instant, isTop: Bool
  ) throws(SystemCallError) {
    var pause: Int32 = 1
    while rmdir(directory) != 0 {
      let reason = Errno(rawValue: errno)
      if reason == .noSuchFileOrDirectory { return }
      guard reason == .resourceBusy || reason == .directoryNotEmpty else {
        throw SystemCallError(call: "rmdir", errno: reason, subject: directory)
      }
      let children = children(of: directory)
      for child in children { try removeDirectory(child, end: end, isTop: false) }
      if !children.isEmpty { continue }
      guard ContinuousClock.now < end else {
        let pids = (try? processes(below: directory)) ?? []
        throw SystemCallError(call: "rmdir", errno: .resourceBusy, subject: "\(directory) with processes \(pids)")
      }
      waitForChange(of: directory, milliseconds: pause)
      pause = min(pause * 2, 50)
    }
  }

  /// v2 tells by POLLPRI on `cgroup.events` when the last process has left; v1 has nothing to wait on.
  private static func waitForChange(of directory: String, milliseconds: Int32) {
    guard let events = try? OwnedFD.open("\(directory)/cgroup.events", flags: O_RDONLY) else {
      _ = poll(nil, 0, milliseconds)
      return
    }
    events.withRawDescriptor { raw in
      // Read once: the kernel reports changes since the last read.
      let bytes = (try? readAll(raw, limit: 4096, subject: directory)) ?? []
      if String(decoding: bytes, as: UTF8.self).contains("populated 0") {
        _ = poll(nil, 0, 1)
        return
      }
      var entry = pollfd(fd: raw, events: Int16(POLLPRI), revents: 0)
      _ = poll(&entry, 1, milliseconds)
    }
  }
}
