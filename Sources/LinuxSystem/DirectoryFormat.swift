internal import Glibc
package import RuntimeModel

/// The number of the form in which a directory of ours keeps what is in it, as the file `format` there.
///
/// Beside it each record has the number of its own form; this one is for what stands in no record: which files there are,
/// and what becomes of those that nobody knows.
package enum DirectoryFormat {
  /// Raised when a version before would misread or remove what is there now.
  package static let version: Int64 = 1

  /// A directory without the file, or with a damaged one, is of the first form: its records tell for themselves.
  /// - Throws: ``LaterFormat``.
  package static func check(_ directory: String) throws(LaterFormat) {
    let path = path(directory)
    guard let found = read(path), found > version else { return }
    throw LaterFormat(subject: path, found: found, known: version)
  }

  /// Says that we use it. After everything in it was checked: nothing is changed before.
  package static func claim(_ directory: String) throws(SystemCallError) {
    let path = path(directory)
    if read(path) != version { try writeFileAtomically(path, Array("\(version)\n".utf8)) }
  }

  private static func path(_ directory: String) -> String { directory + "/format" }

  private static func read(_ path: String) -> Int64? {
    guard let bytes = try? readSmallFile(path, limit: 64) else { return nil }
    return Int64(String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
  }
}
