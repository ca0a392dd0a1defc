internal import CLinux
internal import Glibc
internal import SystemPackage

/// How openat2(2) may resolve a path: its RESOLVE_ flags, as in linux/openat2.h.
package struct Resolve: OptionSet, Sendable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// RESOLVE_NO_XDEV: no mount is crossed.
  package static let noMounts = Resolve(rawValue: 0x01)
  /// RESOLVE_NO_MAGICLINKS: none of procfs's links that lead to open files.
  package static let noMagicLinks = Resolve(rawValue: 0x02)
  /// RESOLVE_NO_SYMLINKS: no link at all, on the way or at the end.
  package static let noLinks = Resolve(rawValue: 0x04)
  /// RESOLVE_BENEATH: never out of the directory where it begins.
  package static let beneath = Resolve(rawValue: 0x08)
  /// RESOLVE_IN_ROOT: that directory is `/`, also for absolute links and `..`.
  package static let inRoot = Resolve(rawValue: 0x10)
}

/// openat2(2) with O_CLOEXEC; again when a rename elsewhere made the kernel unsure (EAGAIN), a few times.
func openAt2(
  _ directory: Int32, _ path: UnsafePointer<CChar>, _ flags: Int32, _ mode: UInt32, _ resolve: Resolve,
  _ subject: String
) throws(SystemCallError) -> Int32 {
  let flags = UInt64(UInt32(bitPattern: flags))
  var attempts = 0
  while true {
    do {
      return try checkedResult("openat2", subject) {
        clinux_host_openat2(directory, path, flags, UInt64(mode), resolve.rawValue)
      }
    } catch {
      attempts += 1
      guard error.errno == .resourceTemporarilyUnavailable, attempts < 100 else { throw error }
    }
  }
}
