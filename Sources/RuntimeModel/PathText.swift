/// Paths as the kernel walks them: bytes between slashes.
///
/// Swift compares characters. A slash and a combining mark behind it are one character to it and no slash, so that
/// `split(separator: "/")` and `hasPrefix("/proc/")` would not see what the kernel sees.
extension StringProtocol {
  /// The names between slashes; doubled, leading and trailing slashes give none.
  package var pathComponents: [Substring] {
    utf8.split(separator: UInt8(ascii: "/")).map { Substring(decoding: $0, as: UTF8.self) }
  }

  /// Whether this path is one below `directory`, which has no slash at its end. Neither `.` nor `..` is looked at.
  package func isBelow(_ directory: some StringProtocol) -> Bool {
    let bytes = utf8
    return bytes.starts(with: directory.utf8)
      && bytes.dropFirst(directory.utf8.count).first == UInt8(ascii: "/")
  }
}
