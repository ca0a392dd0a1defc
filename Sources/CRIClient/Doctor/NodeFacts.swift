import Foundation
import Glibc

/// What the checks look at. Its parts are functions, so that a test can describe a node that is not this one.
struct NodeFacts: Sendable {
  /// A file's text; nil when it cannot be read.
  var read: @Sendable (String) -> String?
  /// Whether the kernel has a system call, by its number.
  var hasSystemCall: @Sendable (Int) -> Bool
  /// Free and total bytes, free and total inodes of the file system that holds a path.
  var space: @Sendable (String) -> FileSystemSpace?
  var kernelRelease: String
  var userID: UInt32

  struct FileSystemSpace: Sendable, Equatable {
    var freeBytes: UInt64
    var totalBytes: UInt64
    var freeInodes: UInt64
    var totalInodes: UInt64
  }

  static var here: NodeFacts {
    NodeFacts(
      read: { FileManager.default.contents(atPath: $0).map { String(decoding: $0, as: UTF8.self) } },
      hasSystemCall: SystemCallProbe.has, space: space, kernelRelease: release(), userID: geteuid())
  }

  private static func release() -> String {
    var names = utsname()
    guard uname(&names) == 0 else { return "" }
    return withUnsafeBytes(of: &names.release) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
  }

  /// A directory that is not there yet will be made on the file system of its nearest parent.
  private static func space(_ path: String) -> FileSystemSpace? {
    var status = statvfs()
    var candidate = path
    while statvfs(candidate, &status) != 0 {
      guard errno == ENOENT, candidate != "/", !candidate.isEmpty else { return nil }
      candidate = (candidate as NSString).deletingLastPathComponent
    }
    let block = UInt64(status.f_frsize)
    return FileSystemSpace(
      freeBytes: UInt64(status.f_bavail) * block, totalBytes: UInt64(status.f_blocks) * block,
      freeInodes: UInt64(status.f_favail), totalInodes: UInt64(status.f_files))
  }
}

/// Asks the kernel for a system call by making it with arguments that cannot succeed: one that is missing answers
/// ENOSYS, any other error shows that it is there.
enum SystemCallProbe {
  /// Numbers from 424 on are the same on every architecture (include/uapi/asm-generic/unistd.h).
  static let openTree = 428
  static let moveMount = 429
  static let fsopen = 430
  static let pidfdOpen = 434
  static let clone3 = 435
  static let closeRange = 436
  static let openat2 = 437
  static let mountSetattr = 442

  /// libc's `syscall` is variadic, which Swift cannot import. It is a bare trap into the kernel that moves its
  /// registers down by one, and both x86-64 and AArch64 pass integers to variadic functions as to any other.
  private typealias SystemCall = @convention(c) (Int, Int, Int, Int, Int, Int, Int) -> Int

  static func has(_ number: Int) -> Bool {
    guard let symbol = dlsym(nil, "syscall") else { return false }
    let call = unsafeBitCast(symbol, to: SystemCall.self)
    // Descriptor -1, null pointers, sizes of zero: refused by each of the calls above. close_range with its first above
    // its last, since -1 is the largest number, closes nothing.
    let result = call(number, -1, 0, 0, 0, 0, 0)
    guard result < 0 else {
      close(Int32(truncatingIfNeeded: result))
      return true
    }
    return errno != ENOSYS
  }
}
