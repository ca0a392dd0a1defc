import RuntimeModel
import Testing

@Suite struct PathTextTests {
  /// A combining mark, which Swift joins with the character before it.
  static let mark = "\u{301}"

  @Test(arguments: [
    ("", []), ("/", []), ("a", ["a"]), ("//a//b/", ["a", "b"]), ("../x", ["..", "x"]),
    ("../\(mark)x", ["..", "\(mark)x"]), ("a/\(mark)/..", ["a", mark, ".."]), ("..\(mark)/x", ["..\(mark)", "x"]),
  ])
  func components(path: String, names: [String]) {
    let found = path.pathComponents
    #expect(found.map { Array($0.utf8) } == names.map { Array($0.utf8) })
  }

  @Test(arguments: [
    ("/proc/x", "/proc", true), ("/proc", "/proc", false), ("/process", "/proc", false), ("/proc/", "/proc", true),
    ("/proc/\(mark)x", "/proc", true), ("/pro", "/proc", false),
  ])
  func below(path: String, directory: String, isBelow: Bool) {
    #expect(path.isBelow(directory) == isBelow)
  }
}
