internal import Glibc
internal import SystemPackage

/// Reading a directory's names.
enum DirectoryNames {
  struct Entry {
    var name: [UInt8]
    /// What readdir(3) says, DT_UNKNOWN where the file system does not tell.
    var type: UInt8
  }

  /// - Parameter directory: opened for reading; consumed.
  static func read(
    _ directory: consuming OwnedFD, limit: Int, subject: String
  ) throws(SystemCallError) -> [Entry] {
    let raw = directory.release()
    guard let stream = fdopendir(raw) else {
      let error = SystemCallError(call: "opendir", subject: subject)
      close(raw)
      throw error
    }
    defer { closedir(stream) }
    var entries: [Entry] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        if errno != 0 { throw SystemCallError(call: "readdir", subject: subject) }
        return entries
      }
      let length = withUnsafePointer(to: &entry.pointee.d_name) {
        strlen(UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix(length)) }
      if name == [0x2e] || name == [0x2e, 0x2e] { continue }
      guard entries.count < limit else {
        throw SystemCallError(
          call: "readdir", errno: .argListTooLong, subject: "\(subject): more than \(limit) names")
      }
      entries.append(Entry(name: name, type: entry.pointee.d_type))
    }
  }
}

/// Removal of a whole tree with one descriptor open at a time, however deep it is; somebody who moves directories
/// meanwhile makes it stop, not stray.
enum TreeRemoval {
  private struct Level {
    var device: UInt64
    var inode: UInt64
    /// Directories still to be removed here; the last is where we are.
    var names: [[UInt8]]
    /// How often the last of them was emptied; somebody who fills it all the time is not waited for.
    var entered = 0
  }

  /// - Parameter parent: opened for reading.
  static func remove(
    _ name: [UInt8], in parent: borrowing OwnedFD, subject: String
  ) throws(SystemCallError) {
    if try unlink(name, in: parent, subject) { return }
    var current = try parent.duplicate()
    var levels = [try level(of: current, names: [name], subject)]
    while let top = levels.last {
      guard let next = top.names.last else {
        levels.removeLast()
        guard let above = levels.last else { return }
        current = try up(from: current, to: above, subject)
        continue
      }
      if try removeDirectory(next, in: current, subject) {
        levels[levels.count - 1].names.removeLast()
        levels[levels.count - 1].entered = 0
        continue
      }
      levels[levels.count - 1].entered += 1
      guard top.entered < 16 else {
        throw SystemCallError(call: "rmdir", errno: .directoryNotEmpty, subject: entry(next, subject))
      }
      let child = try enter(next, in: current, subject)
      let names = try removeFiles(in: child, subject)
      levels.append(try level(of: child, names: names, subject))
      current = child
    }
  }

  /// - Returns: the directories that are left.
  private static func removeFiles(
    in directory: borrowing OwnedFD, _ subject: String
  ) throws(SystemCallError) -> [[UInt8]] {
    var directories: [[UInt8]] = []
    for entry in try DirectoryNames.read(directory.duplicate(), limit: .max, subject: subject) {
      if entry.type == UInt8(DT_DIR) {
        directories.append(entry.name)
      } else if try !unlink(entry.name, in: directory, subject) {
        directories.append(entry.name)
      }
    }
    return directories
  }

  /// - Returns: false when it is a directory.
  private static func unlink(
    _ name: [UInt8], in directory: borrowing OwnedFD, _ subject: String
  ) throws(SystemCallError) -> Bool {
    let failure = directory.withRawDescriptor { raw in
      withCName(name) { unlinkat(raw, $0, 0) == 0 ? 0 : errno }
    }
    switch failure {
    case 0, ENOENT: return true
    case EISDIR, EPERM: return false
    default: throw SystemCallError(call: "unlink", errno: Errno(rawValue: failure), subject: entry(name, subject))
    }
  }

  /// - Returns: false when there is something in it.
  private static func removeDirectory(
    _ name: [UInt8], in directory: borrowing OwnedFD, _ subject: String
  ) throws(SystemCallError) -> Bool {
    let failure = directory.withRawDescriptor { raw in
      withCName(name) { unlinkat(raw, $0, AT_REMOVEDIR) == 0 ? 0 : errno }
    }
    switch failure {
    case 0, ENOENT: return true
    case ENOTEMPTY, EEXIST: return false
    default: throw SystemCallError(call: "rmdir", errno: Errno(rawValue: failure), subject: entry(name, subject))
    }
  }

  private static func enter(
    _ name: [UInt8], in directory: borrowing OwnedFD, _ subject: String
  ) throws(SystemCallError) -> OwnedFD {
    let text = entry(name, subject)
    let result = directory.withRawDescriptor { raw in
      withCName(name) { pointer -> Result<Int32, SystemCallError> in
        Result { () throws(SystemCallError) in
          try openAt2(
            raw, pointer, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, [.beneath, .noLinks, .noMounts], text)
        }
      }
    }
    return OwnedFD(owning: try result.get())
  }

  /// Back to the directory that we came from, and no other.
  private static func up(
    from directory: borrowing OwnedFD, to level: Level, _ subject: String
  ) throws(SystemCallError) -> OwnedFD {
    let above = try directory.withRawDescriptor { (raw) throws(SystemCallError) in
      OwnedFD(owning: try openAt2(raw, "..", O_RDONLY | O_DIRECTORY, 0, .noMagicLinks, subject))
    }
    let found = try self.level(of: above, names: [], subject)
    guard found.device == level.device, found.inode == level.inode else {
      throw SystemCallError(
        call: "remove", errno: .staleNFSFileHandle, subject: "\(subject): a directory was moved meanwhile")
    }
    return above
  }

  private static func level(
    of directory: borrowing OwnedFD, names: [[UInt8]], _ subject: String
  ) throws(SystemCallError) -> Level {
    let status = try directory.withRawDescriptor { (raw) throws(SystemCallError) in
      try RootHandle.Status(descriptor: raw, subject: subject)
    }
    return Level(device: status.device, inode: status.inode, names: names)
  }

  private static func entry(_ name: [UInt8], _ subject: String) -> String {
    "\(String(decoding: name, as: UTF8.self)) below \(subject)"
  }

  private static func withCName<R>(_ name: [UInt8], _ body: (UnsafePointer<CChar>) -> R) -> R {
    (name + [0]).withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { preconditionFailure("a name with its zero is not empty") }
      return body(base.assumingMemoryBound(to: CChar.self))
    }
  }
}
