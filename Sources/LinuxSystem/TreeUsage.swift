internal import Glibc
internal import SystemPackage

/// What a directory tree takes on its file system.
package struct TreeUsage: Sendable, Equatable {
  /// As allocated on disk; a file with several names counts once.
  package var bytes: UInt64 = 0
  package var inodes: UInt64 = 0
  /// False when a bound ended the count: then it is at least this much.
  package var isComplete = true

  package init() {}
}

extension RootHandle {
  /// Counts the whole tree, which somebody may change meanwhile: what comes and goes may be missed, but nothing outside
  /// is ever looked at. No link is followed and no mount entered.
  ///
  /// Blocks its thread: for a ``BlockingPool``.
  /// - Parameters:
  ///   - limit: ends the count after so many entries.
  ///   - memory: bytes that the paths of directories still to be read may take, and the names of files that have several;
  ///     what is more than that is left out of the count.
  ///   - deadline: ends it, too.
  /// - Throws: what opening the root met.
  package borrowing func measure(
    limit: Int, memory: Int = 16 << 20, deadline: ContinuousClock.Instant
  ) throws(SystemCallError) -> TreeUsage {
    var count = TreeCount(limit: limit, memory: memory, deadline: deadline)
    try withRawDescriptor { (root) throws(SystemCallError) in
      var status = Glibc.stat()
      _ = try checked("fstat", "root") { fstat(root, &status) }
      count.add(status)
      count.run(root)
    }
    return count.usage
  }
}

private struct TreeCount {
  /// A file's identity, kept only of those with several names.
  private struct Identity: Hashable {
    var device: UInt64
    var inode: UInt64
    /// With what a set takes besides.
    static let size = 32
  }

  /// A directory still to be read.
  private struct Pending {
    /// Index of the open directory that the path begins at.
    var base: Int
    /// Bytes, ended by a zero: names need not be text.
    var path: [CChar]
    /// With what an array takes besides.
    var size: Int { path.count + 64 }
  }

  var usage = TreeUsage()
  /// A directory was left out, or files whose names could not be told apart: the rest still counts.
  private var isCut = false
  private let limit: Int
  private let deadline: ContinuousClock.Instant
  private var seen: Set<Identity> = []
  private var pending: [Pending] = []
  /// What `pending` and `seen` may still take: whoever made the tree decides how much there is.
  private var room: Int
  /// The root, and directories so deep that a path from the root would be too long; open until the end.
  private var bases: [Int32] = []
  private static let mostBases = 64
  /// Half of PATH_MAX.
  private static let longestPath = 2048

  init(limit: Int, memory: Int, deadline: ContinuousClock.Instant) {
    self.limit = limit
    room = memory
    self.deadline = deadline
  }

  mutating func run(_ root: Int32) {
    bases = [root]
    pending = [Pending(base: 0, path: [CChar(bitPattern: UInt8(ascii: ".")), 0])]
    while let next = pending.popLast(), goesOn {
      room += next.size
      walk(next)
    }
    for base in bases.dropFirst() { close(base) }
    if isCut { usage.isComplete = false }
  }

  /// False once a bound is reached.
  private var goesOn: Bool {
    mutating get {
      if usage.inodes >= limit || ContinuousClock.now >= deadline { usage.isComplete = false }
      return usage.isComplete
    }
  }

  mutating func add(_ status: stat) {
    let isDirectory = status.st_mode & S_IFMT == S_IFDIR
    if status.st_nlink > 1, !isDirectory {
      let identity = Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
      guard !seen.contains(identity) else { return }
      guard room >= Identity.size else { return isCut = true }
      room -= Identity.size
      seen.insert(identity)
    }
    usage.inodes += 1
    usage.bytes += UInt64(max(0, status.st_blocks)) * 512
  }

  /// One directory. A path is resolved anew each time, beneath where it begins: what is moved meanwhile is not followed.
  private mutating func walk(_ directory: Pending) {
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK
    let bounds: Resolve = [.beneath, .noLinks, .noMounts]
    let raw: Int32
    do {
      raw = try openAt2(bases[directory.base], directory.path, flags, 0, bounds, "tree")
    } catch {
      let isGone = [.noSuchFileOrDirectory, .notDirectory, .tooManySymbolicLinkLevels].contains(error.errno)
      if !isGone { usage.isComplete = false }
      return
    }
    guard let stream = fdopendir(raw) else {
      close(raw)
      return
    }
    defer { closedir(stream) }
    var here = Pending(base: directory.base, path: directory.path.dropLast() + [CChar(bitPattern: UInt8(ascii: "/"))])
    if here.path.count > Self.longestPath {
      guard bases.count < Self.mostBases, let copy = Self.duplicate(raw) else {
        usage.isComplete = false
        return
      }
      bases.append(copy)
      here = Pending(base: bases.count - 1, path: [])
    }
    while let entry = readdir(stream), goesOn {
      withUnsafePointer(to: &entry.pointee.d_name) { tuple in
        tuple.withMemoryRebound(to: CChar.self, capacity: 256) { name in
          if strcmp(name, ".") == 0 || strcmp(name, "..") == 0 { return }
          var status = stat()
          guard fstatat(raw, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return }
          add(status)
          guard status.st_mode & S_IFMT == S_IFDIR else { return }
          let bytes = UnsafeBufferPointer(start: name, count: strlen(name) + 1)
          let next = Pending(base: here.base, path: here.path + bytes)
          guard room >= next.size else { return isCut = true }
          room -= next.size
          pending.append(next)
        }
      }
    }
  }

  private static func duplicate(_ raw: Int32) -> Int32? {
    let copy = fcntl(raw, F_DUPFD_CLOEXEC, 0)
    return copy >= 0 ? copy : nil
  }
}
