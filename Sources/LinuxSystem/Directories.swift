internal import Glibc
internal import SystemPackage

/// Directories of our own on the node, closed to everybody else.
package enum PrivateDirectory {
  /// Makes the directory with mode 0700, and missing ones above it with 0755; one that is there is checked.
  ///
  /// - Throws: EPERM when the last component is a link, is not ours, or lets group or others in (looser than 0700).
  package static func make(_ path: String) throws(SystemCallError) {
    if mkdir(path, 0o700) != 0 {
      if errno == ENOENT {
        try makeAncestors(of: path)
        try checked("mkdir", path) { mkdir(path, 0o700) }
      } else if errno != EEXIST {
        throw SystemCallError(call: "mkdir", subject: path)
      }
    }
    try check(path)
  }

  /// - Throws: as ``make(_:)``.
  package static func check(_ path: String) throws(SystemCallError) {
    let directory = try OwnedFD.open(path, flags: OpenFlag.path | O_DIRECTORY | O_NOFOLLOW)
    var status = stat()
    try directory.withRawDescriptor { (raw) throws(SystemCallError) in
      _ = try checked("fstat", path) { fstat(raw, &status) }
    }
    if status.st_uid != geteuid() {
      throw SystemCallError(
        call: "check owner of", errno: .notPermitted, subject: "\(path): owned by user \(status.st_uid)")
    }
    if status.st_mode & 0o077 != 0 {
      let mode = String(status.st_mode & 0o7777, radix: 8)
      throw SystemCallError(call: "check mode of", errno: .notPermitted, subject: "\(path): \(mode), wanted 700")
    }
  }

  private static func makeAncestors(of path: String) throws(SystemCallError) {
    var end = path.startIndex
    while let slash = path[end...].dropFirst().firstIndex(of: "/") {
      let ancestor = String(path[..<slash])
      if mkdir(ancestor, 0o755) != 0, errno != EEXIST { throw SystemCallError(call: "mkdir", subject: ancestor) }
      end = slash
    }
  }
}

/// Names in a directory of the node, in no order; empty when it cannot be read.
///
/// - Parameters:
///   - most: no more than this many are read.
///   - isWanted: which count.
package func fileNames(
  _ path: String, atMost most: Int = .max, where isWanted: (String) -> Bool = { _ in true }
) -> [String] {
  guard let stream = opendir(path) else { return [] }
  defer { closedir(stream) }
  var names: [String] = []
  while names.count < most, let entry = readdir(stream) {
    let name = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if name != "." && name != "..", isWanted(name) { names.append(name) }
  }
  return names
}

/// An exclusive lock on a file (flock(2)), held by at most one process and gone with it.
package struct FileLock: ~Copyable, Sendable {
  /// Why a lock was not taken.
  package enum Failure: Error, Sendable, CustomStringConvertible {
    /// Another process has it; its pid as it wrote it, where it can be read.
    case held(path: String, pid: Int32?)
    case system(SystemCallError)

    package var description: String {
      switch self {
      case .held(let path, let pid?): "\(path) is locked by the process with pid \(pid)"
      case .held(let path, nil): "\(path) is locked by another process"
      case .system(let error): error.description
      }
    }
  }

  private let descriptor: OwnedFD

  /// How often a lock is tried again whose holder is dead: its children between clone and exec have the file open, too.
  private static let attempts = 200

  /// Takes the lock and writes our pid into the file. A live holder is not waited for, what a dead one left for 2 s.
  ///
  /// - Parameter pause: between two attempts.
  package init(path: String, pause: () -> Void = { usleep(10_000) }) throws(Failure) {
    descriptor = try Self.acquire(path, pause)
  }

  private static func acquire(_ path: String, _ pause: () -> Void) throws(Failure) -> OwnedFD {
    let raw: Int32
    do {
      raw = try checked("open", path) { open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600) }
    } catch {
      throw .system(error)
    }
    let file = OwnedFD(owning: raw)
    var left = attempts
    while flock(raw, LOCK_EX | LOCK_NB) != 0 {
      let error = SystemCallError(call: "flock", subject: path)
      guard error.errno == .wouldBlock else { throw .system(error) }
      let holder = holder(path)
      guard left > 0, let holder, kill(holder, 0) != 0, errno == ESRCH else { throw .held(path: path, pid: holder) }
      left -= 1
      pause()
    }
    do throws(SystemCallError) {
      try checked("ftruncate", path) { ftruncate(raw, 0) }
      try writeAll(raw, Array("\(getpid())\n".utf8), subject: path)
    } catch {
      throw .system(error)
    }
    return file
  }

  private static func holder(_ path: String) -> Int32? {
    let text = (try? readSmallFile(path, limit: 64)).map { String(decoding: $0, as: UTF8.self) }
    return text.flatMap { Int32($0.prefix { $0.isNumber }) }
  }
}

/// Writes a file so that a reader, or a machine that lost power, sees the old bytes or the new, never a part.
///
/// - Parameters:
///   - path: of the file; a temporary one is made beside it.
///   - mode: permission bits, whatever the umask.
package func writeFileAtomically(
  _ path: String, _ bytes: [UInt8], mode: UInt32 = 0o600
) throws(SystemCallError) {
  let temporary = "\(path).\(getpid()).\(UInt32.random(in: 0 ... .max)).tmp"
  do throws(SystemCallError) {
    let file = try OwnedFD.open(temporary, flags: O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
    try file.withRawDescriptor { (raw) throws(SystemCallError) in
      try writeAll(raw, bytes, subject: temporary)
      try checked("fchmod", temporary) { fchmod(raw, mode) }
      try checked("fsync", temporary) { fsync(raw) }
    }
    try file.close()
    try checked("rename", path) { rename(temporary, path) }
  } catch {
    unlink(temporary)
    throw error
  }
  try syncDirectory(of: path)
}

/// Makes the names in a path's directory last (fsync(2) on a directory).
package func syncDirectory(of path: String) throws(SystemCallError) {
  let slash = path.lastIndex(of: "/")
  let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
  try OwnedFD.open(directory, flags: O_RDONLY | O_DIRECTORY).withRawDescriptor { (raw) throws(SystemCallError) in
    _ = try checked("fsync", directory) { fsync(raw) }
  }
}
