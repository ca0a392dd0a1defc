import Glibc
import Testing

@testable import ImageStore

/// ATTACKS.md I01 and I03: no entry leaves the layer, whatever its names and links say.
@Suite(.enabled(if: isKernelTestWanted(), "SWIFTLET_KERNEL_TESTS is not 1"), .timeLimit(.minutes(10)))
struct TraversalTests {
  typealias Entry = TarBuilder.Entry

  enum Outcome {
    /// The layer fails and leaves nothing.
    case refused
    /// The layer has these entries, each inside of it.
    case contained([String])
  }

  struct Case: CustomTestStringConvertible, Sendable {
    var testDescription: String
    /// Given the canary's absolute path.
    var entries: @Sendable (String) -> [Entry]
    var outcome: Outcome

    init(_ name: String, _ outcome: Outcome, _ entries: @escaping @Sendable (String) -> [Entry]) {
      testDescription = name
      self.entries = entries
      self.outcome = outcome
    }
  }

  static let up = String(repeating: "../", count: 20)

  static let names: [Case] = [
    Case("dot dot", .refused) { _ in [.file("../x")] },
    Case("many dot dots to the canary", .refused) { [.file("\(up)\($0)/secret")] },
    Case("inner dot dots that leave", .refused) { _ in [.directory("a"), .file("a/../../x")] },
    Case("dot dot alone", .refused) { _ in [.directory("..")] },
    Case("absolute with dot dot", .refused) { _ in [.file("/../x")] },
    Case("absolute", .contained(["etc/passwd"])) { _ in [.file("/etc/passwd")] },
    Case("absolute to the canary", .contained(["tmp"])) { [.file("\($0)/secret")] },
    Case("inner dot dots that stay", .contained(["b"])) { _ in [.file("a/../b")] },
    Case("backslashes are a name", .contained(["..\\..\\x"])) { _ in [.file("..\\..\\x")] },
    Case("newline in a name", .contained(["a\nb"])) { _ in [.file("a\nb")] },
    Case("pax path wins and leaves", .refused) { _ in [.file("x").with { $0.records = [("path", Array("../y".utf8))] }]
    },
    Case("name of 300 bytes", .refused) { _ in [.file(String(repeating: "n", count: 300))] },
    Case("name of 5000 bytes", .refused) { _ in [.file(String(repeating: "n/", count: 2_500) + "x")] },
    Case("the root as a file", .refused) { _ in [.file(".")] },
    Case("the root as a link", .refused) { [.symlink("./", $0)] },
    Case("a file below a file", .refused) { _ in [.file("a"), .file("a/b")] },
    Case("an empty link", .refused) { _ in [.symlink("a", "")] },
    Case("a device beyond its range", .refused) { _ in [.device("d", "3", 0o777_7777, 1)] },
    Case("a negative owner", .refused) { _ in
      [.file("a").with { $0.records = [("uid", Array("-1".utf8))] }]
    },
    Case("an owner that means no change", .refused) { _ in
      [.file("a").with { $0.records = [("uid", Array("4294967295".utf8))] }]
    },
  ]

  static let links: [Case] = [
    Case("file through an absolute link", .contained(["l"])) { [.symlink("l", $0), .file("l/secret")] },
    Case("file through a relative link", .contained(["l"])) { [.symlink("l", "\(up)\($0)"), .file("l/secret")] },
    Case("link to up and out", .contained(["l", "x"])) { _ in [.symlink("l", "../.."), .file("l/x")] },
    Case("link down and out", .contained(["a/b", "x"])) { _ in
      [.directory("a"), .symlink("a/b", "../../.."), .file("a/b/x")]
    },
    Case("two links in a row", .contained(["l", "m"])) { [.symlink("l", $0), .symlink("m", "l"), .file("m/secret")] },
    Case("a loop of links", .refused) { _ in [.symlink("a", "b"), .symlink("b", "a"), .file("a/x")] },
    Case("a link to itself", .refused) { _ in [.symlink("a", "a"), .file("a/x")] },
    Case("file over a link", .contained(["l"])) { [.symlink("l", "\($0)/secret"), .file("l", "new", mode: 0o4777)] },
    Case("directory over a link", .contained(["l"])) { [.symlink("l", "\($0)/dir"), .directory("l", mode: 0o777)] },
    Case("directory over a link, then a file", .contained(["l/inner"])) {
      [.symlink("l", "\($0)/dir"), .directory("l"), .file("l/inner", "new")]
    },
    Case("link over a directory, then a file", .contained(["d"])) {
      [.directory("d"), .file("d/a"), .symlink("d", "\($0)/dir"), .file("d/inner", "new")]
    },
    Case("parent swapped between two files", .contained(["d"])) {
      [.file("d/a"), .file("d/b"), .symlink("d", $0), .file("d/secret", "new"), .file("d/link", "new")]
    },
    Case("proc self root", .contained(["l"])) { [.symlink("l", "/proc/self/root"), .file("l\($0)/secret")] },
    Case("proc self cwd", .contained(["l"])) { _ in [.symlink("l", "/proc/self/cwd"), .file("l/x")] },
    Case("hard link to the canary", .refused) { [.hardLink("h", "\($0)/secret")] },
    Case("hard link up and out", .refused) { [.hardLink("h", "\(up)\($0)/secret")] },
    Case("hard link through a link", .refused) { [.symlink("l", $0), .hardLink("h", "l/secret")] },
    Case("hard link to a link, then a file over it", .contained(["h", "l"])) {
      [.symlink("l", "\($0)/secret"), .hardLink("h", "l"), .file("h", "new", mode: 0o777)]
    },
    Case("hard link to a link keeps its target's mode", .contained(["h", "l"])) {
      [.symlink("l", "\($0)/secret"), .hardLink("h", "l", mode: 0o4777)]
    },
    Case("hard link to a directory", .refused) { _ in [.directory("d"), .hardLink("h", "d")] },
    Case("hard link to the root", .refused) { _ in [.hardLink("h", "/")] },
    Case("hard link to nothing", .refused) { _ in [.hardLink("h", "nothing")] },
    Case("hard link to itself", .contained(["f"])) { _ in [.file("f"), .hardLink("f", "f")] },
    Case("whiteout through a link", .contained(["l"])) { [.symlink("l", $0), .file("l/.wh.secret", "")] },
    Case("opaque through a link", .contained(["l"])) { [.symlink("l", $0), .file("l/.wh..wh..opq", "")] },
    Case("device through a link", .contained(["l"])) { [.symlink("l", $0), .device("l/secret", "3", 1, 3)] },
    Case("fifo over a link", .contained(["l"])) { [.symlink("l", "\($0)/secret"), .fifo("l")] },
  ]

  @Test(arguments: names + links) func staysInside(_ row: Case) async throws {
    let fixture = try StoreFixture()
    let tar = TarBuilder.archive(row.entries(fixture.canary))
    // On a first layer, and on one that looks through to a lower one.
    for below in [[], [TarBuilder.archive([.file("lower/file")])]] {
      do {
        let layers = try await fixture.unpack(below + [tar])
        let layer = try #require(layers.last)
        guard case .contained(let names) = row.outcome else {
          Issue.record("was not refused: \(StoreFixture.names(layer))")
          continue
        }
        for name in names {
          var found = stat()
          #expect(lstat("\(layer)/\(name)", &found) == 0, "no \(name) in \(StoreFixture.names(layer))")
        }
      } catch let error as ImageError {
        guard case .refused = row.outcome else {
          Issue.record("was refused: \(error)")
          continue
        }
        #expect(error.kind == .malformed || error.kind == .limit || error.kind == .corrupt, "\(error)")
        #expect(error.message.contains("sha256:"), "\(error)")
      }
      fixture.expectUntouched()
    }
    await fixture.expectNoTemporaries()
  }

  /// I03: attributes go to the entry itself and not to where a link points.
  @Test func attributesDoNotFollowLinks() async throws {
    let fixture = try StoreFixture()
    let target = "\(fixture.canary)/secret"
    let loud: (inout Entry) -> Void = {
      $0.mode = 0o4777
      $0.uid = 1_234
      $0.gid = 4_321
      $0.records = [("SCHILY.xattr.user.mark", Array("x".utf8)), ("mtime", Array("123456789.5".utf8))]
    }
    let layers = try await fixture.unpack([
      TarBuilder.archive([
        Entry.symlink("a", target).with(loud),
        .hardLink("b", "a").with(loud),
        .symlink("c", target), .file("c").with(loud),
        .symlink("d", "\(fixture.canary)/dir"), .directory("d").with(loud),
        .symlink("e", target), .fifo("e").with(loud),
        .symlink("f", target), .symlink("f", target).with(loud),
      ])
    ])
    fixture.expectUntouched()
    var found = stat()
    #expect(lstat(layers[0] + "/a", &found) == 0)
    #expect(found.st_uid == 1_234 && found.st_mtim.tv_sec == 123_456_789 && found.st_mtim.tv_nsec == 500_000_000)
  }
}
