import Glibc
import LinuxSystem
import RuntimeModel
import Synchronization
import Testing

@testable import ImageStore

/// Directories of a container's own for the `VOLUME`s of its image, and images kept for being mounted.
@Suite(.enabled(if: isKernelTestWanted(), "SWIFTLET_KERNEL_TESTS is not 1"), .timeLimit(.minutes(10)))
struct VolumeTests {
  private typealias Entry = TarBuilder.Entry

  private func load(_ fixture: StoreFixture, _ name: String, _ layers: [[UInt8]]) async throws -> Image {
    let file = try fixture.blob(StoreTests.dockerArchive([([name], layers)]))
    return try await fixture.store.load(archivePath: file.path)[0]
  }

  private static func status(_ path: String) -> stat {
    var found = stat()
    lstat(path, &found)
    return found
  }

  @Test func contentComesAlong() async throws {
    let fixture = try StoreFixture()
    let image = try await load(
      fixture, "x",
      [
        TarBuilder.archive([
          .directory("v", mode: 0o1750).with {
            $0.uid = 7; $0.gid = 8
          }, .file("v/gone"), .directory("v/sub", mode: 0o700),
          .file("v/sub/f", "below", mode: 0o4711).with {
            $0.uid = 9; $0.records = [("SCHILY.xattr.user.k", [65])]
          },
        ]),
        TarBuilder.archive([
          .file("v/.wh.gone"), .file("v/a", "twice"), .hardLink("v/b", "v/a"), .symlink("v/l", "/etc/passwd"),
          .fifo("v/p"), .device("v/null", "3", 1, 3),
        ]),
      ])
    let key = Identifier.random()
    _ = try await fixture.store.prepareSnapshot(image: image, key: key, volumes: ["/v", "/absent/deep"])
    let volume = fixture.store.volumeDirectory(0, of: key)
    #expect(StoreFixture.names(volume).sorted() == ["a", "b", "l", "null", "p", "sub"])
    let null = Self.status(volume + "/null")
    #expect(null.st_mode & S_IFMT == S_IFCHR && null.st_rdev == 1 << 8 | 3)
    let root = Self.status(volume)
    #expect(root.st_mode & 0o7777 == 0o1750 && root.st_uid == 7 && root.st_gid == 8)
    #expect(root.st_mtim.tv_sec == 1_000_000_000)
    let file = Self.status(volume + "/sub/f")
    #expect(file.st_mode & 0o7777 == 0o4711 && file.st_uid == 9 && file.st_mtim.tv_sec == 1_000_000_000)
    #expect(StoreFixture.text(volume + "/sub/f") == "below")
    #expect(Self.status(volume + "/a").st_ino == Self.status(volume + "/b").st_ino)
    #expect(Self.status(volume + "/p").st_mode & S_IFMT == S_IFIFO)
    #expect(Self.status(volume + "/l").st_mode & S_IFMT == S_IFLNK)
    let empty = fixture.store.volumeDirectory(1, of: key)
    #expect(StoreFixture.names(empty) == [] && Self.status(empty).st_mode & 0o7777 == 0o755)
    try await fixture.store.removeSnapshot(key: key)
    await fixture.expectNoTemporaries()
    #expect(StoreFixture.names(fixture.base + "/store/snapshots") == [])
  }

  /// D05: no path of a `VOLUME` copies a file of the node.
  @Test(arguments: ["one layer", "two layers"])
  func linksEndInsideTheImage(_ how: String) async throws {
    let fixture = try StoreFixture()
    let up = String(repeating: "../", count: 20)
    let hostile = TarBuilder.archive([
      .symlink("absolute", fixture.canary), .symlink("up", up + fixture.canary.dropFirst()), .symlink("to-root", "/"),
      .symlink("loop", "loop"), .directory("mid"), .symlink("mid/out", fixture.base), .file("file"),
      .symlink("proc", "/proc/self/root" + fixture.canary), .directory("inside"), .file("inside/f", "image"),
      .symlink("alias", "/inside"),
    ])
    let image = try await load(fixture, "x", how == "one layer" ? [hostile] : [StoreTests.base, hostile])
    let key = Identifier.random()
    let volumes = [
      "/absolute", "/up", "/mid/out/canary", up + fixture.canary, fixture.canary, "/to-root" + fixture.canary,
      "/alias",
    ]
    _ = try await fixture.store.prepareSnapshot(image: image, key: key, volumes: volumes)
    for index in volumes.indices {
      let names = StoreFixture.names(fixture.store.volumeDirectory(index, of: key))
      #expect(names == (volumes[index] == "/alias" ? ["f"] : []), "\(volumes[index])")
    }
    for volume in ["/file", "/loop", "/file/deep", "/proc"] {
      let error = await #expect(throws: ImageError.self) {
        try await fixture.store.prepareSnapshot(image: image, key: .random(), volumes: [volume])
      }
      #expect(error?.message.contains(volume) == true)
    }
    #expect(try fixture.store.snapshotKeys() == [key])
    await fixture.expectNoTemporaries()
    fixture.expectUntouched()
  }

  private struct Unwanted: Error {}

  /// In the middle of a file, and nothing stays.
  @Test func aCopyThatNobodyWantsEnds() async throws {
    let fixture = try StoreFixture()
    let large = String(repeating: "x", count: 1 << 20)
    let image = try await load(fixture, "x", [TarBuilder.archive([.file("v/large", large), .file("v/other", large)])])
    let asked = Mutex(0)
    await #expect(throws: Unwanted.self) {
      try await fixture.store.prepareSnapshot(image: image, key: .random(), volumes: ["/v"]) {
        let count = asked.withLock { asked in
          asked += 1
          return asked
        }
        if count > 3 { throw Unwanted() }
      }
    }
    #expect(asked.withLock { $0 } == 4)
    await fixture.expectNoTemporaries()
    #expect(try fixture.store.snapshotKeys() == [])
    #expect(StoreFixture.names(fixture.base + "/store/snapshots") == [])
    try await fixture.store.remove("x")
    await fixture.expectNoTemporaries()
    #expect(StoreFixture.names(fixture.base + "/store/layers") == [])
  }

  @Test func mountedImagesAreKept() async throws {
    let fixture = try StoreFixture()
    let image = try await load(fixture, "x", [StoreTests.base])
    let other = try await load(fixture, "y", [StoreTests.base, StoreTests.top])
    let key = Identifier.random()
    _ = try await fixture.store.prepareSnapshot(image: image, key: key, mounted: [other, image, other])
    #expect(fixture.store.overlayDirectories(of: other).count == 2)
    #expect(fixture.store.overlayDirectories(of: image).last.map(StoreFixture.names) == [])
    for name in ["x", "y"] { try await fixture.store.remove(name) }
    await fixture.expectNoTemporaries()
    #expect(StoreFixture.names(fixture.base + "/store/layers").count == 2)
    await #expect(throws: ImageError.self) {
      try await fixture.store.prepareSnapshot(image: Image(image, missing: true), key: .random(), mounted: [other])
    }

    let again = try ImageStore(root: fixture.base + "/store", configuration: .init(), logger: StoreFixture.logger)
    #expect(StoreFixture.names(fixture.base + "/store/layers").count == 2)
    try await again.removeSnapshot(key: key)
    await again.sweeper.drain()
    await again.shutdown()
    #expect(StoreFixture.names(fixture.base + "/store/layers") == [])
  }
}
