import Glibc
import LinuxSystem
import RuntimeModel
import Testing

@testable import ImageStore

@Suite(.enabled(if: isKernelTestWanted(), "SWIFTLET_KERNEL_TESTS is not 1"), .timeLimit(.minutes(10)))
struct StoreTests {
  typealias Entry = TarBuilder.Entry

  /// A config with these layers.
  static func config(_ layers: [[UInt8]], _ process: String = "{}") -> [UInt8] {
    let diffs = layers.map { "\"\(ContentDigest(of: $0))\"" }.joined(separator: ",")
    return Array(
      #"{"architecture":"amd64","os":"linux","config":\#(process),"rootfs":{"type":"layers","diff_ids":[\#(diffs)]}}"#
        .utf8)
  }

  /// What `docker save` writes, older links and all.
  static func dockerArchive(_ images: [(tags: [String], layers: [[UInt8]])]) -> [UInt8] {
    var entries: [Entry] = []
    var list: [String] = []
    var known: [ContentDigest: String] = [:]
    for (number, image) in images.enumerated() {
      let config = config(image.layers, #"{"Cmd":["\#(number)"]}"#)
      let name = "\(ContentDigest(of: config).hex).json"
      entries.append(Entry(name: Array(name.utf8), data: config))
      var paths: [String] = []
      for (index, layer) in image.layers.enumerated() {
        let path = "\(number)-\(index)/layer.tar"
        entries.append(.directory("\(number)-\(index)/"))
        if let first = known[ContentDigest(of: layer)] {
          entries.append(.symlink(path, "../\(first)"))
        } else {
          known[ContentDigest(of: layer)] = path
          entries.append(Entry(name: Array(path.utf8), data: layer))
        }
        paths.append("\"\(path)\"")
      }
      let tags = image.tags.map { "\"\($0)\"" }.joined(separator: ",")
      list.append(#"{"Config":"\#(name)","RepoTags":[\#(tags)],"Layers":[\#(paths.joined(separator: ","))]}"#)
    }
    entries.append(.file("manifest.json", "[\(list.joined(separator: ","))]"))
    return TarBuilder.archive(entries)
  }

  /// An OCI layout of one image; `change` may spoil its entries.
  static func layout(
    _ layers: [[UInt8]], annotations: String = "{}", blobs: [[UInt8]]? = nil,
    _ change: (inout [Entry]) -> Void = { _ in }
  ) -> [UInt8] {
    func blob(_ bytes: [UInt8]) -> Entry {
      Entry(name: Array("blobs/sha256/\(ContentDigest(of: bytes).hex)".utf8), data: bytes)
    }
    let blobs = blobs ?? layers
    let config = config(layers)
    let list = blobs.map { #"{"digest":"\#(ContentDigest(of: $0))","size":\#($0.count)}"# }.joined(separator: ",")
    let manifest = Array(
      #"{"schemaVersion":2,"config":{"digest":"\#(ContentDigest(of: config))","size":\#(config.count)},"layers":[\#(list)]}"#
        .utf8)
    let index =
      #"{"schemaVersion":2,"manifests":[{"digest":"\#(ContentDigest(of: manifest))","size":\#(manifest.count),"annotations":\#(annotations)}]}"#
    var entries: [Entry] = [.file("oci-layout", #"{"imageLayoutVersion":"1.0.0"}"#), .file("index.json", index)]
    entries += [blob(config), blob(manifest)] + blobs.map(blob)
    change(&entries)
    return TarBuilder.archive(entries)
  }

  static let base = TarBuilder.archive([.directory("etc"), .file("etc/passwd", "root:x:0:0::/root:/bin/sh\n")])
  static let top = TarBuilder.archive([.file("bin/app", String(repeating: "a", count: 10_000), mode: 0o755)])

  private func load(_ fixture: StoreFixture, _ archive: [UInt8]) async throws -> [Image] {
    let file = try fixture.blob(archive)
    return try await fixture.store.load(archivePath: file.path)
  }

  @Test func dockerSave() async throws {
    let fixture = try StoreFixture()
    let images = try await load(
      fixture, Self.dockerArchive([(["a:1", "b/c:2"], [Self.base, Self.top]), (["d:3"], [Self.base])]))
    #expect(images.map(\.repoTags) == [["docker.io/b/c:2", "docker.io/library/a:1"], ["docker.io/library/d:3"]])
    #expect(images.allSatisfy { $0.size > 0 && $0.id.hasPrefix("sha256:") })
    #expect(try fixture.store.find("a:1")?.config.cmd == ["0"])
    #expect(StoreFixture.names(fixture.base + "/store/layers").count == 2)
    let usage = try await fixture.store.usage()
    #expect(usage.usedBytes == 4_096 * (3 + 2 + 3) && usage.inodesUsed == 6)
    await fixture.expectNoTemporaries()
    fixture.expectUntouched()
  }

  @Test(arguments: [
    (
      #"{"io.containerd.image.name":"docker.io/library/x:1","org.opencontainers.image.ref.name":"1"}"#,
      "docker.io/library/x:1"
    ),
    (#"{"org.opencontainers.image.ref.name":"x:1"}"#, "docker.io/library/x:1"),
    (#"{"org.opencontainers.image.ref.name":"latest"}"#, ""), ("{}", ""),
  ])
  func ociLayout(_ annotations: String, _ tag: String) async throws {
    let fixture = try StoreFixture()
    let image = try #require(try await load(fixture, Self.layout([Self.base], annotations: annotations)).first)
    #expect(image.repoTags == (tag.isEmpty ? [] : [tag]))
    #expect(image.id == ContentDigest(of: Self.config([Self.base])).text)
    #expect(image.repoDigests.count == (tag.isEmpty ? 0 : 1))
    #expect(try fixture.store.find(image.id)?.id == image.id)
    await fixture.expectNoTemporaries()
  }

  /// gzip outside and inside.
  @Test func compressed() async throws {
    let fixture = try StoreFixture()
    let zipped = StoredGzip.members([Array(Self.base[..<700]), Array(Self.base[700...])])
    let archive = Self.layout([Self.base], annotations: #"{"io.containerd.image.name":"x"}"#, blobs: [zipped])
    let images = try await load(fixture, StoredGzip.members([archive]))
    #expect(images.first?.repoTags == ["docker.io/library/x:latest"])
    #expect(StoreFixture.text(fixture.base + "/store/layers/\(ContentDigest(of: Self.base).hex)/diff/etc/passwd") != "")
  }

  @Test(arguments: [
    "duplicate", "hard link", "wrong digest", "missing", "outside", "not one", "count", "cut", "no file",
  ])
  func badArchive(_ what: String) async throws {
    let fixture = try StoreFixture()
    let archive: [UInt8] =
      switch what {
      case "duplicate": Self.layout([Self.base]) { $0.append($0[0]) }
      case "hard link": Self.layout([Self.base]) { $0.append(.hardLink("x", "/etc/shadow")) }
      case "wrong digest": Self.layout([Self.base]) { $0[$0.count - 1].data[0] ^= 1 }
      case "missing": Self.layout([Self.base]) { $0.removeLast() }
      case "outside": Self.layout([Self.base]) { $0.append(.file("../x")) }
      case "not one": TarBuilder.archive([.file("readme")])
      case "count": Self.layout([Self.base], blobs: [Self.base, Self.top])
      case "cut": Array(Self.layout([Self.base])[..<2_600])
      default: []
      }
    let file = try fixture.blob(archive)
    let path = what == "no file" ? "/nonexistent.tar" : file.path
    let error = await #expect(throws: ImageError.self) { try await fixture.store.load(archivePath: path) }
    #expect(error?.message.contains(path) == true, "\(String(describing: error))")
    #expect(fixture.store.list().isEmpty)
    #expect(StoreFixture.names(fixture.base + "/store/layers") == [])
    fixture.expectUntouched()
  }

  @Test func tagsMoveAndImagesGo() async throws {
    let fixture = try StoreFixture()
    let first = try await load(fixture, Self.dockerArchive([(["x:1", "y:1"], [Self.base])]))[0]
    let second = try await load(fixture, Self.dockerArchive([(["x:1"], [Self.base, Self.top])]))[0]
    #expect(try fixture.store.find("x:1")?.id == second.id)
    #expect(try fixture.store.find(first.id)?.repoTags == ["docker.io/library/y:1"])
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<5 {
        group.addTask {
          try await fixture.store.remove("x:1")
          #expect(try fixture.store.find(second.id) == nil)
        }
      }
      try await group.waitForAll()
    }
    try await fixture.store.remove(second.id)
    #expect(fixture.store.list().map(\.id) == [first.id])
    await fixture.expectNoTemporaries()
    #expect(StoreFixture.names(fixture.base + "/store/layers").count == 1)
    try await fixture.store.remove(first.id)
    await fixture.expectNoTemporaries()
    #expect(StoreFixture.names(fixture.base + "/store/layers") == [])
    #expect(try await fixture.store.usage().usedBytes == 0)
  }

  @Test func snapshotsKeepLayers() async throws {
    let fixture = try StoreFixture()
    let root = TarBuilder.archive([Entry.directory("./", mode: 0o751).with { $0.gid = 3 }, .file("f")])
    let image = try await load(fixture, Self.dockerArchive([(["x"], [Self.base, root])]))[0]
    let key = Identifier.random()
    let snapshot = try await fixture.store.prepareSnapshot(image: image, key: key)
    #expect(snapshot.lowerDirectories.count == 2)
    #expect(StoreFixture.names(snapshot.lowerDirectories[0]) == ["f"])
    var found = stat()
    #expect(lstat(snapshot.upperDirectory, &found) == 0 && found.st_mode & 0o7777 == 0o751 && found.st_gid == 3)
    #expect(StoreFixture.names(snapshot.workDirectory) == [])
    try await fixture.store.remove("x")
    await #expect(throws: ImageError.self) {
      try await fixture.store.prepareSnapshot(image: Image(image, missing: true), key: .random())
    }
    await fixture.expectNoTemporaries()
    #expect(StoreFixture.names(fixture.base + "/store/layers").count == 2)

    // A restarted daemon knows it too.
    let again = try ImageStore(
      root: fixture.base + "/store", configuration: .init(), logger: StoreFixture.logger)
    #expect(try again.snapshotKeys() == [key])
    #expect(again.snapshot(key: key) == snapshot)
    #expect(StoreFixture.names(fixture.base + "/store/layers").count == 2)
    try await again.removeSnapshot(key: key)
    try await again.removeSnapshot(key: key)
    await again.sweeper.drain()
    await again.shutdown()
    #expect(StoreFixture.names(fixture.base + "/store/layers") == [])
    #expect(StoreFixture.names(fixture.base + "/store/snapshots") == [])
    await fixture.expectNoTemporaries()
  }

  @Test func restart() async throws {
    let fixture = try StoreFixture()
    let images = try await load(
      fixture, Self.dockerArchive([(["a"], [Self.base]), (["b"], [Self.top]), (["c"], [Self.base, Self.top])]))
    let store = fixture.base + "/store"
    // What a killed daemon leaves: half a layer, a layer of no image, an image without its layer, a torn record.
    try #require(mkdir(store + "/tmp/layer-1", 0o700) == 0)
    try #require(mkdir(store + "/layers/\(String(repeating: "e", count: 64))", 0o700) == 0)
    try #require(rename(store + "/layers/\(ContentDigest(of: Self.top).hex)", fixture.base + "/lost.tar") == 0)
    try writePrivately(Array("{".utf8), to: store + "/images/\(String(repeating: "f", count: 64)).json", synced: false)
    let again = try ImageStore(root: store, configuration: .init(), logger: StoreFixture.logger)
    #expect(again.list().map(\.id).sorted() == [images[0].id, images[2].id].sorted())
    #expect(again.list().first { $0.id == images[0].id } == fixture.store.list().first { $0.id == images[0].id })
    await again.sweeper.drain()
    await again.shutdown()
    await fixture.expectNoTemporaries()
    #expect(StoreFixture.names(store + "/layers").count == 2)
    #expect(StoreFixture.names(store + "/images").count == 2)
  }

  @Test func rootForLookingInto() async throws {
    let fixture = try StoreFixture()
    let images = try await load(fixture, Self.dockerArchive([(["a"], [Self.base, Self.top]), (["b"], [Self.base])]))
    let mounts = StoreFixture.text("/proc/self/mountinfo")
    for image in images {
      let text = try await fixture.store.withRoot(of: image) { root in
        #expect(StoreFixture.text("/proc/self/mountinfo") == mounts)
        return String(decoding: try root.readFile("etc/passwd", limit: 4_096), as: UTF8.self)
      }
      #expect(text.hasPrefix("root:"))
    }
    #expect(StoreFixture.text("/proc/self/mountinfo") == mounts)
    await #expect(throws: RuntimeError.self) {
      try await fixture.store.withRoot(of: images[0]) { _ in throw RuntimeError(.notFound, "x") }
    }
  }
}

extension Image {
  /// The same image with a layer that nobody has.
  init(_ image: Image, missing: Bool) {
    self = image
    layers.append(ImageLayer(diffID: ContentDigest(of: [1]), chainID: ContentDigest(of: [2])))
  }
}

/// gzip without compression (RFC 1951, 3.2.4; RFC 1952), since nothing here compresses.
enum StoredGzip {
  static func members(_ parts: [[UInt8]]) -> [UInt8] {
    parts.flatMap { part -> [UInt8] in
      var bytes: [UInt8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]
      var offset = 0
      repeat {
        let end = min(offset + 65_535, part.count)
        let count = UInt16(end - offset)
        bytes += [end == part.count ? 1 : 0, UInt8(count & 255), UInt8(count >> 8)]
        bytes += [UInt8(~count & 255), UInt8(~count >> 8)]
        bytes += part[offset..<end]
        offset = end
      } while offset < part.count
      let sum = crc(part)
      for shift in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: sum >> UInt32(shift))) }
      for shift in [0, 8, 16, 24] { bytes.append(UInt8(truncatingIfNeeded: part.count >> shift)) }
      return bytes
    }
  }

  private static func crc(_ bytes: [UInt8]) -> UInt32 {
    var crc = UInt32.max
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
    return ~crc
  }
}
