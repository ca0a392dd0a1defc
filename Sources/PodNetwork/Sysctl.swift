internal import Glibc

/// Files below `/proc/sys/net`, which shows the network namespace of the thread that opens them (proc_sys_net(5)).
enum Sysctl {
  /// - Returns: 0 or an errno; ENOENT where the kernel lacks it.
  static func write(_ name: String, _ value: String) -> Int32 {
    let raw = open(path(name), O_WRONLY | O_CLOEXEC)
    guard raw >= 0 else { return errno }
    defer { close(raw) }
    let bytes = Array(value.utf8)
    return Glibc.write(raw, bytes, bytes.count) == bytes.count ? 0 : errno
  }

  /// - Returns: the first line; nil where it cannot be read.
  static func read(_ name: String) -> String? {
    let raw = open(path(name), O_RDONLY | O_CLOEXEC)
    guard raw >= 0 else { return nil }
    defer { close(raw) }
    var bytes = [UInt8](repeating: 0, count: 128)
    let count = Glibc.read(raw, &bytes, bytes.count)
    guard count >= 0 else { return nil }
    return String(decoding: bytes[..<count].prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
  }

  static func path(_ name: String) -> String { "/proc/sys/net/" + name }
}
