import Testing

@testable import ImageStore

@Suite struct EntryPathTests {
  @Test(arguments: [
    ("a/b", "a/b"), ("./a", "a"), ("/a", "a"), ("///a//b/", "a/b"), ("a/./b/.", "a/b"), ("a/../b", "b"), ("./", ""),
    ("/", ""), ("", ""), (".", ""), ("a/..", ""), ("a/b/../../c", "c"), ("...", "..."), ("..a/b..", "..a/b.."),
    ("a\nb", "a\nb"), ("%2e%2e/a", "%2e%2e/a"), ("..\\a", "..\\a"),
  ])
  func cleaned(_ raw: String, _ expected: String) throws {
    let path = try EntryPath(cleaning: Array(raw.utf8), limit: 4_096)
    #expect(String(decoding: path.bytes, as: UTF8.self) == expected)
  }

  @Test(arguments: ["..", "../a", "/..", "/../etc/passwd", "a/../..", "a/../../b", "./../x", "a/b/../../../c", "a\0b"])
  func refused(_ raw: String) {
    let error = #expect(throws: ImageError.self) { try EntryPath(cleaning: Array(raw.utf8), limit: 4_096) }
    #expect(error?.kind == .malformed)
  }

  @Test func tooLong() {
    let error = #expect(throws: ImageError.self) {
      try EntryPath(cleaning: [UInt8](repeating: 97, count: 5_000), limit: 4_096)
    }
    #expect(error?.kind == .limit)
  }

  @Test func parts() throws {
    let path = try EntryPath(cleaning: Array("a/bc/d".utf8), limit: 4_096)
    #expect(Array(path.name) == Array("d".utf8))
    #expect(path.parent.bytes == Array("a/bc".utf8))
    #expect(path.parent.contains(path))
    #expect(!path.contains(path.parent))
    #expect(try !EntryPath(cleaning: Array("a/b".utf8), limit: 9).contains(path))
    #expect(EntryPath.root.contains(path))
  }

  /// ATTACKS.md I04.
  @Test(arguments: [".wh.", "a/.wh.", ".wh..", ".wh...", "a/.wh...", ".wh.x/y", "a/.wh.b/c"])
  func whiteoutsOfNothing(_ raw: String) throws {
    let path = try EntryPath(cleaning: Array(raw.utf8), limit: 4_096)
    let error = #expect(throws: ImageError.self) { try Whiteout(path) }
    #expect(error?.kind == .malformed)
  }

  @Test(arguments: [
    (".wh.a", Whiteout?.some(.name(.root.appending("a".utf8)))),
    (".wh....", .name(.root.appending("...".utf8))),
    (".wh..a", .name(.root.appending(".a".utf8))),
    ("d/.wh..wh..opq", .opaque(.root.appending("d".utf8))),
    (".wh..wh..opq", .opaque(.root)),
    (".wh..wh.plnk/1.2", .ignored), (".wh..wh.x", .ignored), (".wh..wh..opqx", .ignored), ("a/.whx", nil),
    ("wh.a", nil),
  ])
  func whiteouts(_ raw: String, _ expected: Whiteout?) throws {
    #expect(try Whiteout(EntryPath(cleaning: Array(raw.utf8), limit: 4_096)) == expected)
  }
}
