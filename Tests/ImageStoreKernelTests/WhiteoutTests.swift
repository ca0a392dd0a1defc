import CLinux
import Glibc
import LinuxSystem
import Testing

@testable import ImageStore

@Suite(.enabled(if: isKernelTestWanted(), "SWIFTLET_KERNEL_TESTS is not 1"), .timeLimit(.minutes(10)))
struct WhiteoutTests {
  typealias Entry = TarBuilder.Entry

  /// What a container would see of the layers.
  private func merged(_ fixture: StoreFixture, _ layers: [String]) throws -> [String] {
    let view = try openMergedView(layers.reversed())
    func walk(_ path: String) -> [String] {
      StoreFixture.names("/proc/self/fd/\(view.raw)/\(path)").flatMap { name -> [String] in
        let below = path.isEmpty ? name : "\(path)/\(name)"
        return [below] + walk(below)
      }
    }
    return withExtendedLifetime(view) { walk("").sorted() }
  }

  static let base = TarBuilder.archive([
    .directory("d"), .file("d/a"), .file("d/b"), .directory("d/sub"), .file("d/sub/x"), .file("f"), .directory("keep"),
    .file("keep/me"),
  ])

  /// Layer, what is seen over `base`.
  @Test(
    arguments: [
      ("file", [Entry.file("d/.wh.a", "")], ["d", "d/b", "d/sub", "d/sub/x", "f", "keep", "keep/me"]),
      ("directory", [.file(".wh.d", "")], ["f", "keep", "keep/me"]),
      (
        "nothing there", [.file(".wh.nothing", ""), .file("q/.wh.x", "")],
        ["d", "d/a", "d/b", "d/sub", "d/sub/x", "f", "keep", "keep/me", "q"]
      ),
      ("opaque", [.file("d/.wh..wh..opq", "")], ["d", "f", "keep", "keep/me"]),
      ("opaque, entry before", [.file("d/new"), .file("d/.wh..wh..opq", "")], ["d", "d/new", "f", "keep", "keep/me"]),
      ("opaque, entry after", [.file("d/.wh..wh..opq", ""), .file("d/new")], ["d", "d/new", "f", "keep", "keep/me"]),
      ("opaque root", [.file(".wh..wh..opq", ""), .file("keep/you")], ["keep", "keep/you"]),
      (
        "removed and made again", [.file(".wh.d", ""), .directory("d"), .file("d/new")],
        ["d", "d/new", "f", "keep", "keep/me"]
      ),
      (
        "removed and made again without an entry", [.file(".wh.d", ""), .file("d/new")],
        ["d", "d/new", "f", "keep", "keep/me"]
      ),
      (
        "made, then removed below", [.directory("d"), .file("d/new"), .file(".wh.d", "")],
        ["d", "d/new", "f", "keep", "keep/me"]
      ),
      ("file in place of a directory", [.file("d")], ["d", "f", "keep", "keep/me"]),
      (
        "directory in place of a file", [.directory("f"), .file("f/x")],
        ["d", "d/a", "d/b", "d/sub", "d/sub/x", "f", "f/x", "keep", "keep/me"]
      ),
      (
        "aufs metadata", [.file(".wh..wh.aufs"), .directory(".wh..wh.plnk"), .file(".wh..wh.plnk/1")],
        ["d", "d/a", "d/b", "d/sub", "d/sub/x", "f", "keep", "keep/me"]
      ),
      (
        "whiteout below a removed directory", [.file(".wh.d", ""), .file("d/.wh.a", "")], ["d", "f", "keep", "keep/me"]
      ),
    ] as [(String, [Entry], [String])])
  func seenOverBase(_ name: String, _ entries: [Entry], _ expected: [String]) async throws {
    let fixture = try StoreFixture()
    let layers = try await fixture.unpack([Self.base, TarBuilder.archive(entries)])
    #expect(try merged(fixture, layers) == expected)
    // Over a third layer in between, so that "below" is an overlay itself.
    let other = try StoreFixture()
    let three = try await other.unpack([Self.base, TarBuilder.archive([.file("z")]), TarBuilder.archive(entries)])
    let isHidden = name == "opaque root"
    #expect(try merged(other, three) == (isHidden ? expected : (expected + ["z"]).sorted()))
    fixture.expectUntouched()
    await fixture.expectNoTemporaries()
  }

  /// ATTACKS.md I04: the directory that is unpacked into stays the same one.
  @Test(arguments: [".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh..", "d/.wh...", ".wh.x/y", "./.wh."])
  func whiteoutsOfNoName(_ name: String) async throws {
    let fixture = try StoreFixture()
    let error = await #expect(throws: ImageError.self) {
      try await fixture.unpack([Self.base, TarBuilder.archive([.file("victim"), .file(name, "")])])
    }
    #expect(error?.kind == .malformed)
    #expect(fixture.store.layers.contains(ContentDigest(of: Self.base)))
    fixture.expectUntouched()
    await fixture.expectNoTemporaries()
  }

  /// ATTACKS.md I05: the last of many marks costs no more than the first.
  @Test func repeatedOpaqueMarks() async throws {
    let fixture = try StoreFixture()
    let deep = String(repeating: "d/", count: 1_000)
    var builder = TarBuilder()
    builder.add(.directory("o"))
    builder.add(.file(deep + ".wh..wh..opq", ""))
    let before = builder.bytes.count
    builder.add(.file("o/.wh..wh..opq", ""))
    let mark = Array(builder.bytes[before...])
    var tar = builder.bytes
    tar.reserveCapacity(512 * 302_100)
    for _ in 0..<300_000 { tar += mark }
    tar += [UInt8](repeating: 0, count: 1_024)
    let base = TarBuilder.archive([.file("o/a")])
    let blob = try fixture.blob(tar)
    let layers = ImageLayer.chain(of: [ContentDigest(of: base), ContentDigest(of: tar)])
    try await fixture.unpack([base])
    let begin = processorTime()
    try await fixture.store.unpack(layers[1], above: [layers[0].chainID], from: blob)
    // Seconds for a debug build; what counts is that it is not hours.
    #expect(processorTime() - begin < .seconds(60))
    #expect(try merged(fixture, layers.map { fixture.store.directory.diff($0.chainID) }).contains("o"))
  }

  /// ATTACKS.md I02: layers of one pull that swap a directory for a link do not meet.
  @Test func parallelSwaps() async throws {
    let fixture = try StoreFixture()
    let canary = fixture.canary
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<8 {
        group.addTask {
          var entries: [Entry] = []
          for round in 0..<200 {
            entries += [
              .symlink("d", canary), .file("d/secret", "\(number)"), .directory("d"),
              .file("d/secret", "\(number).\(round)"),
            ]
          }
          try await fixture.unpack([TarBuilder.archive(entries)])
        }
      }
      try await group.waitForAll()
    }
    fixture.expectUntouched()
    await fixture.expectNoTemporaries()
  }
}
