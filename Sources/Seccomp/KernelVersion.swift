internal import Glibc

/// `major.minor` of a kernel, as far as profiles ask for it.
struct KernelVersion: Sendable, Hashable, Comparable {
  var major: UInt32
  var minor: UInt32

  /// nil unless it begins with two numbers and a dot between them.
  init?(_ text: String) {
    let parts = text.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count >= 2, let major = UInt32(parts[0]),
      let minor = UInt32(parts[1].prefix { $0.isASCII && $0.isNumber })
    else { return nil }
    self.major = major
    self.minor = minor
  }

  private init(major: UInt32, minor: UInt32) {
    self.major = major
    self.minor = minor
  }

  /// uname(2)'s release.
  static var running: KernelVersion {
    var names = utsname()
    guard uname(&names) == 0 else { return KernelVersion(major: 0, minor: 0) }
    let release = withUnsafeBytes(of: &names.release) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    return KernelVersion(release) ?? KernelVersion(major: 0, minor: 0)
  }

  static func < (left: KernelVersion, right: KernelVersion) -> Bool {
    (left.major, left.minor) < (right.major, right.minor)
  }
}
