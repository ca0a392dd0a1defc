import CLinux
import Glibc
import Testing

@testable import ImageStore

@Suite(.enabled(if: isKernelTestWanted(), "SWIFTLET_KERNEL_TESTS is not 1"), .timeLimit(.minutes(10)))
struct LayerContentTests {
  typealias Entry = TarBuilder.Entry

  private func status(_ path: String) throws -> stat {
    var found = stat()
    try #require(lstat(path, &found) == 0, "\(path)")
    return found
  }

  private func attribute(_ path: String, _ name: String) -> String? {
    let file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var value = [UInt8](repeating: 0, count: 256)
    let count = clinux_fs_fgetxattr(file, name, &value, value.count)
    return count < 0 ? nil : String(decoding: value.prefix(count), as: UTF8.self)
  }

  @Test func modesOwnersTimes() async throws {
    let fixture = try StoreFixture()
    let before = umask(0o077)
    defer { umask(before) }
    let layer = try await fixture.unpack([
      TarBuilder.archive([
        Entry.directory("./", mode: 0o711).with { $0.uid = 5 },
        Entry.directory("tmp", mode: 0o1777).with { $0.modified = 77 },
        Entry.file("tmp/su", mode: 0o6755).with {
          $0.uid = 100_000; $0.gid = 200_000
        },
        Entry.file("big").with { $0.records = [("uid", Array("3000000000".utf8)), ("mtime", Array("-5".utf8))] },
        .symlink("l", "anywhere/at all"), .fifo("p"), Entry.device("null", "3", 1, 3).with { $0.mode = 0o666 },
        .device("disk", "4", 8, 1), .file("a/b/c"),
      ])
    ])[0]
    #expect(try status(layer).st_mode & 0o7777 == 0o711)
    #expect(try status(layer).st_uid == 5)
    #expect(try status(layer + "/tmp").st_mode & 0o7777 == 0o1777)
    #expect(try status(layer + "/tmp").st_mtim.tv_sec == 77)
    let setuid = try status(layer + "/tmp/su")
    #expect(setuid.st_mode & 0o7777 == 0o6755)
    #expect(setuid.st_uid == 100_000 && setuid.st_gid == 200_000)
    #expect(try status(layer + "/big").st_uid == 3_000_000_000)
    #expect(try status(layer + "/big").st_mtim.tv_sec == -5)
    #expect(try status(layer + "/p").st_mode == S_IFIFO | 0o644)
    #expect(try status(layer + "/null").st_mode == S_IFCHR | 0o666)
    #expect(try status(layer + "/null").st_rdev == 0x103)
    #expect(try status(layer + "/disk").st_mode & S_IFMT == S_IFBLK)
    #expect(try status(layer + "/a/b").st_mode & 0o7777 == 0o755)
    let target = try linkTarget("l".utf8, in: openTrustedDirectory(layer))
    #expect(String(decoding: target, as: UTF8.self) == "anywhere/at all")
  }

  @Test func attributes() async throws {
    let fixture = try StoreFixture()
    // VFS_CAP_REVISION_2, effective, CAP_NET_BIND_SERVICE (linux/capability.h).
    let capability: [UInt8] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    let records: [(String, [UInt8])] = [
      ("SCHILY.xattr.user.a", Array("1".utf8)), ("SCHILY.xattr.trusted.b", Array("2".utf8)),
      ("SCHILY.xattr.security.capability", capability),
      ("SCHILY.xattr.trusted.overlay.opaque", Array("y".utf8)),
      ("SCHILY.xattr.trusted.overlay.redirect", Array("/etc".utf8)),
      ("SCHILY.xattr.user.overlay.opaque", Array("y".utf8)), ("SCHILY.xattr.security.selinux", Array("x".utf8)),
    ]
    let layer = try await fixture.unpack([
      TarBuilder.archive([
        Entry.file("f", mode: 0o755).with { $0.records = records },
        Entry.directory("d").with { $0.records = Array(records.filter { !$0.0.hasSuffix("capability") }) },
      ])
    ])[0]
    for path in [layer + "/f", layer + "/d"] {
      #expect(attribute(path, "user.a") == "1")
      #expect(attribute(path, "trusted.b") == "2")
      for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "security.selinux"] {
        #expect(attribute(path, name) == nil, "\(path) \(name)")
      }
    }
    #expect(attribute(layer + "/f", "security.capability") != nil)
  }

  @Test func namesAreBytes() async throws {
    let fixture = try StoreFixture()
    let latin: [UInt8] = [0x66, 0xfc, 0x72]
    let layer = try await fixture.unpack([
      TarBuilder.archive([
        .file("grün/ö", "utf8"), Entry.file("x").with { $0.name = latin },
        Entry.file("x").with { $0.records = [("path", Array("päx/ñ".utf8))] },
        Entry.file("x").with { $0.records = [("path", Array("bad-".utf8) + latin)] },
        Entry.symlink("l", "x").with { $0.records = [("linkpath", Array("zü".utf8))] },
      ])
    ])[0]
    #expect(StoreFixture.text(layer + "/grün/ö") == "utf8")
    #expect(StoreFixture.text(layer + "/päx/ñ") == "x")
    let directory = try openTrustedDirectory(layer)
    let names = try entries(of: directory)
    #expect(names.contains(latin))
    #expect(names.contains(Array("bad-".utf8) + latin))
    #expect(try linkTarget("l".utf8, in: directory) == Array("zü".utf8))
  }

  @Test func hardLinks() async throws {
    let fixture = try StoreFixture()
    let layers = try await fixture.unpack([
      TarBuilder.archive([
        Entry.file("usr/bin/a", "one", mode: 0o4755).with { $0.uid = 7 }, .hardLink("b", "usr/bin/a"),
        .symlink("s", "b"),
        .symlink("bin", "usr/bin"), .hardLink("via", "bin/a"),
      ]),
      TarBuilder.archive([
        .hardLink("copy", "usr/bin/a"), .hardLink("scopy", "s"), .file("bin/c", "three"), .hardLink("d", "bin/a"),
      ]),
      TarBuilder.archive([.hardLink("again", "copy"), .hardLink("usr/bin/deep", "b")]),
    ])
    let first = try status(layers[0] + "/usr/bin/a")
    #expect(first.st_nlink == 3)
    #expect(try status(layers[0] + "/b").st_ino == first.st_ino)
    let copy = try status(layers[1] + "/copy")
    #expect(copy.st_mode & 0o7777 == 0o4755 && copy.st_uid == 7)
    #expect(StoreFixture.text(layers[1] + "/copy") == "one")
    #expect(try status(layers[1] + "/scopy").st_mode & S_IFMT == S_IFLNK)
    // `bin` is a link of the lower layer: the file lands where the link points.
    #expect(StoreFixture.text(layers[1] + "/usr/bin/c") == "three")
    #expect(StoreFixture.text(layers[1] + "/d") == "one")
    #expect(StoreFixture.names(layers[1]).contains("bin") == false)
    #expect(StoreFixture.text(layers[2] + "/again") == "one")
    #expect(StoreFixture.text(layers[2] + "/usr/bin/deep") == "one")
  }

  @Test func missingParentsLookAsBelow() async throws {
    let fixture = try StoreFixture()
    let layers = try await fixture.unpack([
      TarBuilder.archive([
        Entry.directory("./", mode: 0o750),
        Entry.directory("home", mode: 0o2770).with {
          $0.uid = 9
          $0.records = [("SCHILY.xattr.user.k", Array("v".utf8))]
        },
      ]),
      TarBuilder.archive([.file("home/new/x")]),
    ])
    let home = try status(layers[1] + "/home")
    #expect(home.st_mode & 0o7777 == 0o2770 && home.st_uid == 9)
    #expect(home.st_mtim.tv_sec == 1_000_000_000)
    #expect(attribute(layers[1] + "/home", "user.k") == "v")
    #expect(try status(layers[1]).st_mode & 0o7777 == 0o750)
  }

  @Test func sparseFiles() async throws {
    let fixture = try StoreFixture()
    // GNU sparse format 1.0: the map is at the head of the data.
    var data = Array("2\n0\n4\n1048576\n4\n".utf8)
    data += [UInt8](repeating: 0, count: 512 - data.count) + Array("headtail".utf8)
    let layer = try await fixture.unpack([
      TarBuilder.archive([
        Entry(
          name: Array("GNUSparseFile.0/s".utf8), data: data,
          records: [
            ("GNU.sparse.major", Array("1".utf8)), ("GNU.sparse.minor", Array("0".utf8)),
            ("GNU.sparse.name", Array("s".utf8)), ("GNU.sparse.realsize", Array("2097152".utf8)),
          ])
      ])
    ])[0]
    let found = try status(layer + "/s")
    #expect(found.st_size == 2_097_152)
    #expect(found.st_blocks < 64)
    #expect(StoreFixture.text(layer + "/s").hasPrefix("head"))
  }

  @Test func replacedWithinOneLayer() async throws {
    let fixture = try StoreFixture()
    var deep: [Entry] = [.file("t/x")]
    deep.append(.file("t/" + String(repeating: "d/", count: 1_500) + "x"))
    deep += [
      .file("t", "flat"), .file("t", "again"), .directory("u"), .symlink("u", "x"), .fifo("u"), .file("u", "end"),
    ]
    let layer = try await fixture.unpack([TarBuilder.archive(deep)])[0]
    #expect(StoreFixture.text(layer + "/t") == "again")
    #expect(StoreFixture.text(layer + "/u") == "end")
    await fixture.expectNoTemporaries()
  }

  /// ATTACKS.md I06, I11, I16 and FAULTS.md F57: refused, and nothing is left.
  @Test(arguments: ["digest", "truncated", "garbage", "empty", "entries", "bytes", "headers", "lying size", "space"])
  func refused(_ what: String) async throws {
    let fixture = try StoreFixture {
      $0.limits.entries = 100
      $0.limits.expandedBytes = 8 << 20
      if what == "space" { $0.limits.reserveBytes = 1 << 60 }
    }
    var tar = TarBuilder.archive([.file("a", String(repeating: "x", count: 5_000))])
    var digest: ContentDigest?
    var kind = ImageError.Kind.corrupt
    switch what {
    case "digest": digest = ContentDigest(of: [])
    case "truncated": tar = Array(tar[..<2_000])
    case "garbage": tar = (0..<5_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    case "empty": tar = []
    case "entries":
      tar = TarBuilder.archive((0..<101).map { .file("f\($0)") })
      kind = .limit
    case "bytes":
      tar = TarBuilder.archive([Entry(name: Array("f".utf8), data: [UInt8](repeating: 0, count: 9 << 20))])
      kind = .limit
    case "headers":
      let value = [UInt8](repeating: 97, count: 900_000)
      tar = TarBuilder.archive([Entry.file("f").with { $0.records = (0..<7).map { ("comment\($0)", value) } }])
    case "lying size": tar = TarBuilder.archive([Entry.file("f").with { $0.size = 1 << 50 }])
    default: kind = .noSpace
    }
    let layer = ImageLayer.chain(of: [digest ?? ContentDigest(of: tar)])[0]
    let blob = try fixture.blob(tar)
    let error = await #expect(throws: ImageError.self) {
      try await fixture.store.unpack(layer, above: [], from: blob)
    }
    #expect(error?.kind == kind || what == "lying size" || what == "headers", "\(String(describing: error))")
    #expect(!fixture.store.layers.contains(layer.chainID))
    #expect(StoreFixture.names(fixture.base + "/store/layers") == [])
  }

  /// ATTACKS.md I05, I06: what a layer makes the store remember or copy is bounded, though it takes few bytes to ask for.
  @Test func whatAFewBytesAskFor() async throws {
    let fixture = try StoreFixture {
      $0.limits.pathBytes = 10_000
      $0.limits.expandedBytes = 300 << 10
    }
    let part = String(repeating: "d", count: 200) + "/"
    let deep = String(repeating: part, count: 10)
    let large = TarBuilder.archive([Entry.file("large", String(repeating: "x", count: 200 << 10))])
    let hostile: [[[UInt8]]] = [
      [TarBuilder.archive((0..<10).map { .directory("\(deep)\($0)") })],
      [large, TarBuilder.archive([.hardLink("a", "large"), .hardLink("b", "large")])],
    ]
    for tars in hostile {
      let error = await #expect(throws: ImageError.self) { try await fixture.unpack(tars) }
      #expect(error?.kind == .limit, "\(String(describing: error))")
    }
    try await fixture.unpack([large, TarBuilder.archive([.hardLink("a", "large")])])
    await fixture.expectNoTemporaries()
  }

  @Test func cancelledUnpackEndsAtOnce() async throws {
    let fixture = try StoreFixture()
    let tar = TarBuilder.archive((0..<50_000).map { .file("d/f\($0)", "content") })
    let layer = ImageLayer.chain(of: [ContentDigest(of: tar)])[0]
    let blob = try fixture.blob(tar)
    let work = Task { try await fixture.store.unpack(layer, above: [], from: blob) }
    while StoreFixture.names(fixture.base + "/store/tmp").filter({ $0.hasPrefix("layer-") }).isEmpty {
      try await Task.sleep(for: .milliseconds(2))
    }
    let begin = processorTime()
    work.cancel()
    await #expect(throws: CancellationError.self) { try await work.value }
    #expect(processorTime() - begin < .seconds(5))
    #expect(!fixture.store.layers.contains(layer.chainID))
  }
}
