import RuntimeModel

/// What execve(2) takes of arguments and environment. What is more would fail at the start, or not fit a request to the
/// shim; so it is refused when the container is created.
enum ArgumentSize {
  /// MAX_ARG_STRLEN, with the final zero.
  private static let longest = 128 << 10
  /// A quarter of the usual stack limit, for all strings and the pointers to them.
  private static let together = 2 << 20

  /// - Parameters:
  ///   - field: of the request, for errors.
  ///   - room: bytes that others have taken.
  /// - Returns: bytes taken now.
  /// - Throws: `invalidArgument`.
  static func check(
    _ strings: some Sequence<some Collection<UInt8>>, field: String, room taken: Int = 0
  ) throws(RuntimeError) -> Int {
    var total = taken
    for (index, string) in strings.enumerated() {
      guard string.count < longest else {
        throw RuntimeError(
          .invalidArgument, "\(field)[\(index)]: \(string.count) bytes; the kernel takes \(longest - 1) in one string")
      }
      total += string.count + 1 + 8
      guard total <= together else {
        throw RuntimeError(
          .invalidArgument, "\(field): more than \(together) bytes of arguments and environment together")
      }
    }
    return total
  }
}
