internal import CLinux
internal import Glibc
internal import RuntimeModel
internal import SystemPackage

/// A directory tree that we do not trust: every path is resolved by the kernel inside it (openat2(2), RESOLVE_IN_ROOT:
/// links that point up or are absolute end at the root; magic links are refused). See ATTACKS.md V1.
///
/// Paths are relative; a leading slash means the root.
package struct RootHandle: ~Copyable, Sendable {
  private let root: OwnedFD
  /// For texts.
  private let name: String

  /// What stat(2) says, as far as anybody needs it.
  package struct Status: Sendable, Hashable {
    package var mode: UInt32
    package var uid: UInt32
    package var gid: UInt32
    package var size: Int64
    package var device: UInt64
    package var inode: UInt64
    package var links: UInt64
    /// Of a device node.
    package var rawDevice: UInt64

    package var isDirectory: Bool { mode & UInt32(Glibc.S_IFMT) == UInt32(Glibc.S_IFDIR) }
    package var isRegularFile: Bool { mode & UInt32(Glibc.S_IFMT) == UInt32(Glibc.S_IFREG) }

    package init(descriptor raw: Int32, subject: String) throws(SystemCallError) {
      var status = Glibc.stat()
      try checked("fstat", subject) { fstat(raw, &status) }
      mode = status.st_mode
      uid = status.st_uid
      gid = status.st_gid
      size = Int64(status.st_size)
      device = UInt64(status.st_dev)
      inode = UInt64(status.st_ino)
      links = UInt64(status.st_nlink)
      rawDevice = UInt64(status.st_rdev)
    }
  }

  /// - Parameter descriptor: of a directory, O_PATH or not.
  package init(owning descriptor: consuming OwnedFD, name: String) {
    root = descriptor
    self.name = name
  }

  /// - Parameter path: a directory of the node's own.
  package static func open(path: String) throws(SystemCallError) -> RootHandle {
    RootHandle(owning: try OwnedFD.open(path, flags: OpenFlag.path | O_DIRECTORY), name: path)
  }

  package borrowing func withRawDescriptor<Result: ~Copyable, Failure: Error>(
    _ body: (Int32) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try root.withRawDescriptor(body)
  }

  /// Opens something inside the root.
  ///
  /// - Parameters:
  ///   - flags: of open(2); O_CLOEXEC is added. O_NOFOLLOW concerns the last component.
  ///   - mode: with O_CREAT.
  ///   - followsLinks: false: no component may be a link.
  package borrowing func open(
    _ path: String, flags: Int32, mode: UInt32 = 0, followsLinks: Bool = true
  ) throws(SystemCallError) -> OwnedFD {
    let subject = subject(path)
    let relative = try Self.relative(path, subject)
    let resolve: Resolve = followsLinks ? [.inRoot, .noMagicLinks] : [.inRoot, .noMagicLinks, .noLinks]
    return try root.withRawDescriptor { (raw) throws(SystemCallError) in
      OwnedFD(owning: try openAt2(raw, relative, flags, mode, resolve, subject))
    }
  }

  /// Opens without access (O_PATH): to look at, to stat, as the base of further calls.
  package borrowing func openPath(_ path: String, followsLastLink: Bool = true) throws(SystemCallError) -> OwnedFD {
    try open(path, flags: OpenFlag.path | (followsLastLink ? 0 : O_NOFOLLOW))
  }

  /// - Throws: ENOENT, ENOTDIR, ELOOP.
  package borrowing func status(
    _ path: String, followsLastLink: Bool = true
  ) throws(SystemCallError) -> Status {
    let subject = subject(path)
    return try openPath(path, followsLastLink: followsLastLink).withRawDescriptor { (raw) throws(SystemCallError) in
      try Status(descriptor: raw, subject: subject)
    }
  }

  /// Reads a regular file. A FIFO or device of the image's making is refused before it is opened (ATTACKS.md V4).
  ///
  /// - Parameter limit: bytes; a larger file is EFBIG.
  /// - Throws: EINVAL when it is no regular file.
  package borrowing func readFile(_ path: String, limit: Int) throws(SystemCallError) -> [UInt8] {
    let subject = subject(path)
    return try openPath(path).withRawDescriptor { (raw) throws(SystemCallError) in
      let status = try Status(descriptor: raw, subject: subject)
      guard status.isRegularFile else {
        throw SystemCallError(call: "read", errno: .invalidArgument, subject: "\(subject): not a regular file")
      }
      guard status.size <= limit else {
        throw SystemCallError(call: "read", errno: .fileTooLarge, subject: "\(subject): over \(limit) bytes")
      }
      // The node's own /proc, and an inode that was looked at. Reading /proc/kmsg, which is "regular", would wait.
      return try OwnedFD.open("/proc/self/fd/\(raw)", flags: O_RDONLY | O_NOCTTY | O_NONBLOCK).withRawDescriptor {
        (file) throws(SystemCallError) in try readAll(file, limit: limit, subject: subject)
      }
    }
  }

  /// The names in a directory, as bytes (a name need not be UTF-8), without `.` and `..`, unsorted.
  ///
  /// - Parameter limit: names; a fuller directory is E2BIG.
  package borrowing func list(_ path: String, limit: Int = 1_000_000) throws(SystemCallError) -> [[UInt8]] {
    let subject = subject(path)
    let directory = try open(path, flags: O_RDONLY | O_DIRECTORY)
    return try DirectoryNames.read(directory, limit: limit, subject: subject).map(\.name)
  }

  /// Makes a directory and those above it; a component that is a link inside the root is followed, one that dangles is
  /// an error.
  ///
  /// - Parameter mode: of the ones that are made, whatever the umask.
  /// - Returns: the last one, O_PATH.
  package borrowing func makeDirectories(_ path: String, mode: UInt32 = 0o755) throws(SystemCallError) -> OwnedFD {
    let subject = subject(path)
    let parts = path.pathComponents.filter { $0 != "." }
    guard !parts.contains("..") else {
      throw SystemCallError(call: "mkdir", errno: .invalidArgument, subject: "\(subject): has ..")
    }
    var current = try open("/", flags: OpenFlag.path | O_DIRECTORY)
    var walked = ""
    for part in parts {
      walked += "/\(part)"
      do throws(SystemCallError) {
        // From the root each time, so that a link's `..` and `/` are resolved by the kernel inside it.
        current = try open(walked, flags: OpenFlag.path | O_DIRECTORY)
      } catch {
        guard error.errno == .noSuchFileOrDirectory else { throw error }
        current = try Self.makeDirectory(in: current, String(part), mode, subject)
      }
    }
    return current
  }

  /// Removes a file, a link, or a directory with all below it. Follows no link, enters no mount. Absent: nothing.
  ///
  /// - Throws: EXDEV on a mount point below; EINVAL for the root itself. What was removed before stays removed.
  package borrowing func remove(_ path: String) throws(SystemCallError) {
    let subject = subject(path)
    guard let name = path.pathComponents.last, name != "..", name != "." else {
      throw SystemCallError(call: "remove", errno: .invalidArgument, subject: subject)
    }
    let parent = path.pathComponents.dropLast().joined(separator: "/")
    let directory: OwnedFD
    do {
      directory = try open("/" + parent, flags: O_RDONLY | O_DIRECTORY)
    } catch {
      if error.errno == .noSuchFileOrDirectory { return }
      throw error
    }
    try TreeRemoval.remove(Array(name.utf8), in: directory, subject: subject)
  }

  private borrowing func subject(_ path: String) -> String { "\(path) in \(name)" }

  private static func makeDirectory(
    in parent: borrowing OwnedFD, _ name: String, _ mode: UInt32, _ subject: String
  ) throws(SystemCallError) -> OwnedFD {
    try parent.withRawDescriptor { (raw) throws(SystemCallError) in
      let isNew = mkdirat(raw, name, 0o700) == 0
      if !isNew, errno != EEXIST { throw SystemCallError(call: "mkdir", subject: subject) }
      let made = OwnedFD(owning: try openAt2(raw, name, O_RDONLY | O_DIRECTORY, 0, [.beneath, .noLinks], subject))
      if isNew {
        try made.withRawDescriptor { (raw) throws(SystemCallError) in
          _ = try checked("fchmod", subject) { fchmod(raw, mode) }
        }
      }
      return made
    }
  }

  /// The kernel wants at least `.`; an embedded zero would cut the path.
  private static func relative(_ path: String, _ subject: String) throws(SystemCallError) -> String {
    guard !path.utf8.contains(0) else {
      throw SystemCallError(call: "openat2", errno: .invalidArgument, subject: "\(subject): has a zero byte")
    }
    return path.isEmpty ? "." : path
  }
}
