import Glibc
import RuntimeModel
import Synchronization
import Testing

@testable import ImageStore

/// The client against a registry that behaves and misbehaves. No root: nothing is unpacked.
@Suite(.timeLimit(.minutes(5))) struct RegistryClientTests {
  /// A client whose downloads go to a directory of its own.
  final class Fixture: Sendable {
    let registry: StubRegistry
    let client: RegistryClient
    let path: String

    init(_ change: (inout RegistryConfiguration) -> Void = { _ in }) async throws {
      registry = try await StubRegistry()
      path = "/tmp/swiftlet-registry-\(String(UInt64.random(in: .min ... .max), radix: 36))"
      var configuration = RegistryConfiguration()
      change(&configuration)
      client = RegistryClient(configuration, directory: try StoreDirectory(root: path))
    }

    func repository(_ name: String, _ credentials: RegistryCredentials? = nil) throws -> RegistryClient.Repository {
      client.repository(try ImageReference("\(registry.host)/\(name)"), credentials)
    }

    func resolve(_ name: String, _ credentials: RegistryCredentials? = nil) async throws -> ResolvedImage {
      try await client.resolve(repository(name, credentials))
    }

    func end() async throws {
      await client.shutdown()
      try await registry.stop()
      // A file goes with its last owner, which may be the closure of a thread that has told its result already.
      let end = ContinuousClock.now + .seconds(60)
      while rmdir("\(path)/tmp") != 0, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(2)) }
      for directory in ["layers", "images", "snapshots", "empty"] { rmdir("\(path)/\(directory)") }
      #expect(rmdir(path) == 0, "something is left in \(path)")
    }
  }

  private func with(
    _ change: (inout RegistryConfiguration) -> Void = { _ in }, _ body: (Fixture) async throws -> Void
  ) async throws {
    let fixture = try await Fixture(change)
    try await body(fixture)
    try await fixture.end()
  }

  @Test func byTagAndByDigest() async throws {
    try await with { fixture in
      let added = fixture.registry.add(layers: [[1, 2, 3]], tags: "v1")
      let byTag = try await fixture.resolve("a/b:v1")
      #expect(byTag.digest.text == added.manifest)
      #expect(byTag.document.id.text == added.id)
      let byDigest = try await fixture.resolve("a/b@\(added.manifest)")
      #expect(byDigest.document.id == byTag.document.id)
      #expect(fixture.registry.requests[0].headers["accept"]?.contains("image.index.v1+json") == true)
    }
  }

  @Test func indexNamesThePlatform() async throws {
    try await with { fixture in
      let added = fixture.registry.add(layers: [[1]])
      let other = ContentDigest(of: [9]).text
      let index = fixture.registry.add(
        manifest: """
          {"schemaVersion":2,"manifests":[{"digest":"\(other)","size":1,"platform":{"os":"linux","architecture":"arm64"}},
          {"digest":"\(added.manifest)","size":\(added.size),"platform":{"os":"linux","architecture":"amd64"}}]}
          """, type: StubRegistry.indexType, tags: "v1")
      let resolved = try await fixture.resolve("a:v1")
      #expect(resolved.digest.text == index)
      #expect(resolved.document.id.text == added.id)
    }
  }

  /// ATTACKS.md I08: a graph of indexes ends soon.
  @Test func indexesOfIndexes() async throws {
    try await with { fixture in
      var inner = fixture.registry.add(layers: [[1]]).manifest
      var size = 0
      for depth in 0..<6 {
        let text =
          #"{"manifests":[{"digest":"\#(inner)","size":\#(size),"platform":{"os":"linux","architecture":"amd64"}}]}"#
        inner = fixture.registry.add(manifest: text, type: StubRegistry.indexType, tags: "deep\(depth)")
        size = text.utf8.count
      }
      let error = await #expect(throws: ImageError.self) { try await fixture.resolve("a:deep5") }
      #expect(error?.kind == .limit)
      #expect(fixture.registry.requests.count < 10)
      let many = (0..<300).map { #"{"digest":"\#(ContentDigest(of: [UInt8($0 % 256)]))","size":\#($0)}"# }
      fixture.registry.add(
        manifest: #"{"manifests":[\#(many.joined(separator: ","))]}"#, type: StubRegistry.indexType, tags: "wide")
      #expect(await #expect(throws: ImageError.self) { try await fixture.resolve("a:wide") }?.kind == .limit)
    }
  }

  @Test func absent() async throws {
    try await with { fixture in
      let error = await #expect(throws: ImageError.self) { try await fixture.resolve("a/b:none") }
      #expect(error?.kind == .notFound)
      #expect(error?.message.contains("\(fixture.registry.host)/a/b:none") == true)
      #expect(error?.runtimeError.code == .notFound)
    }
  }

  @Test func nobodyAnswers() async throws {
    try await with({ $0.attempts = 1 }) { fixture in
      let reference = try ImageReference("127.0.0.1:1/a")
      let error = await #expect(throws: ImageError.self) {
        try await fixture.client.resolve(fixture.client.repository(reference, nil))
      }
      #expect(error?.runtimeError.code == .unknown)
      #expect(error?.runtimeError.message == "RegistryUnavailable: registry 127.0.0.1:1: connection refused")
    }
  }

  @Test func silenceEnds() async throws {
    try await with({
      $0.attempts = 2
      $0.stallTimeout = .milliseconds(500)
    }) { fixture in
      fixture.registry.answer { _ in .init(isSilent: true) }
      let error = await #expect(throws: ImageError.self) { try await fixture.resolve("a") }
      #expect(error?.kind == .registryUnavailable)
      // The registry's thread may come to the last one when its client has given up.
      let end = ContinuousClock.now + .seconds(30)
      while fixture.registry.requests.count < 2, ContinuousClock.now < end {
        try await Task.sleep(for: .milliseconds(2))
      }
      #expect(fixture.registry.requests.count == 2)
    }
  }

  @Test func cancelledAtOnce() async throws {
    try await with({ $0.stallTimeout = .seconds(60) }) { fixture in
      fixture.registry.answer { _ in .init(isSilent: true) }
      let work = Task { try await fixture.resolve("a") }
      // Not by yielding in a circle, which keeps a thread from the tests beside this one.
      while fixture.registry.requests.isEmpty { try await Task.sleep(for: .milliseconds(2)) }
      let elapsed = await ContinuousClock().measure {
        work.cancel()
        await #expect(throws: CancellationError.self) { try await work.value }
      }
      #expect(elapsed < .seconds(30), "by the cancellation, not by the end of patience")
    }
  }

  @Test(arguments: [500, 503, 429]) func passingTrouble(_ status: Int) async throws {
    try await with { fixture in
      fixture.registry.add(layers: [[1]], tags: "latest")
      let counter = Counter()
      fixture.registry.answer { _ in
        counter.next() < 2 ? .init(status: status, headers: [("Retry-After", "0")]) : nil
      }
      _ = try await fixture.resolve("a")
    }
  }

  final class Counter: Sendable {
    private let value = Mutex(0)
    func next() -> Int {
      value.withLock { value in
        defer { value += 1 }
        return value
      }
    }
  }

  // MARK: - Authentication

  @Test func basic() async throws {
    try await with { fixture in
      fixture.registry.add(layers: [[1]], tags: "latest")
      fixture.registry.answer { request in
        request.headers["authorization"] == "Basic dTpw"
          ? nil : .init(status: 401, headers: [("WWW-Authenticate", "Basic realm=\"x\"")])
      }
      _ = try await fixture.resolve("a", .init(username: "u", password: "p"))
      let denied = await #expect(throws: ImageError.self) { try await fixture.resolve("a") }
      #expect(denied?.kind == .denied)
      let before = fixture.registry.requests.count
      let wrong = await #expect(throws: ImageError.self) {
        try await fixture.resolve("a", .init(username: "u", password: "hunter2"))
      }
      #expect(wrong?.kind == .denied)
      #expect(wrong?.message.contains("hunter2") == false)
      #expect(fixture.registry.requests.count - before <= 3)
    }
  }

  @Test(arguments: [true, false]) func bearer(_ takesForm: Bool) async throws {
    try await with { fixture in
      fixture.registry.add(layers: [[1]], tags: "latest")
      let realm = "http://\(fixture.registry.host)/token"
      fixture.registry.answer { request in
        if request.uri.hasPrefix("/token") {
          if request.method == "POST" {
            guard takesForm else { return .init(status: 405) }
            #expect(request.body.contains("grant_type=password"))
            #expect(request.body.contains("password=p%26%3D"))
          } else {
            #expect(request.headers["authorization"] == "Basic " + encodeBase64("u:p&="))
            #expect(request.uri.contains("scope=repository%3Aa%3Apull"))
          }
          return .init(body: Array(#"{"access_token":"tok","expires_in":300}"#.utf8))
        }
        let challenge = "Bearer realm=\"\(realm)\",service=\"s\",scope=\"repository:a:pull\""
        return request.headers["authorization"] == "Bearer tok"
          ? nil : .init(status: 401, headers: [("WWW-Authenticate", challenge)])
      }
      _ = try await fixture.resolve("a", .init(username: "u", password: "p&="))
      _ = try await fixture.resolve("a", .init(username: "u", password: "p&="))
      #expect(fixture.registry.requests.filter { $0.uri.hasPrefix("/token") }.count == (takesForm ? 1 : 2))
    }
  }

  /// ATTACKS.md I14: secrets stay with the origin they are for.
  @Test func redirectsCarryNoSecret() async throws {
    let elsewhere = try await StubRegistry()
    let other = elsewhere.host
    try await with { fixture in
      let added = fixture.registry.add(layers: [[1, 2, 3]], tags: "latest")
      elsewhere.add(blob: [1, 2, 3])
      fixture.registry.answer { request in
        if request.headers["authorization"] == nil {
          return .init(status: 401, headers: [("WWW-Authenticate", "Basic realm=x")])
        }
        guard request.uri.hasSuffix(added.layers[0]) else { return nil }
        return .init(status: 307, headers: [("Location", "http://\(other)/blobs/\(added.layers[0])")])
      }
      let credentials = RegistryCredentials(username: "u", password: "p")
      let resolved = try await fixture.resolve("a", credentials)
      let blob = try await fixture.client.download(fixture.repository("a", credentials), resolved.blobs[0])
      #expect(try readStoreFile(blob.path, limit: 10) == [1, 2, 3])
      #expect(elsewhere.requests.count == 1)
      #expect(elsewhere.requests[0].headers["authorization"] == nil)
    }
    try await elsewhere.stop()
  }

  @Test func redirectsEnd() async throws {
    try await with { fixture in
      fixture.registry.answer { request in .init(status: 302, headers: [("Location", request.uri)]) }
      #expect(await #expect(throws: ImageError.self) { try await fixture.resolve("a") }?.kind == .denied)
      #expect(fixture.registry.requests.count <= 12)
    }
  }

  @Test func tokenServiceWithoutTLS() async throws {
    try await with { fixture in
      fixture.registry.answer { _ in
        .init(status: 401, headers: [("WWW-Authenticate", "Bearer realm=\"http://registry.example/token\"")])
      }
      let error = await #expect(throws: ImageError.self) {
        try await fixture.resolve("a", .init(username: "u", password: "p"))
      }
      #expect(error?.kind == .denied)
      #expect(error?.message.contains("TLS") == true)
    }
  }

  // MARK: - Bodies

  @Test func blobIsResumed() async throws {
    try await with { fixture in
      let data = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
      let added = fixture.registry.add(layers: [data], tags: "latest")
      let counter = Counter()
      fixture.registry.answer { request in
        guard request.uri.hasSuffix(added.layers[0]), counter.next() == 0 else { return nil }
        return .init(body: data, cut: 2_000_000)
      }
      let resolved = try await fixture.resolve("a")
      let blob = try await fixture.client.download(fixture.repository("a"), resolved.blobs[0])
      #expect(try readStoreFile(blob.path, limit: 4 << 20) == data)
      #expect(fixture.registry.requests.last?.headers["range"]?.hasPrefix("bytes=") == true)
    }
  }

  @Test(arguments: ["cut", "short", "long", "other", "gone"]) func badBlob(_ what: String) async throws {
    try await with { fixture in
      let data = [UInt8](repeating: 7, count: 100_000)
      let added = fixture.registry.add(layers: [data], tags: "latest")
      fixture.registry.answer { request in
        guard request.uri.hasSuffix(added.layers[0]) else { return nil }
        return switch what {
        case "cut": .init(body: data, cut: 0)
        case "short": .init(body: Array(data[..<50_000]))
        case "long": .init(body: data + [7])
        case "other": .init(body: [UInt8](repeating: 8, count: 100_000))
        default: .init(status: 404)
        }
      }
      let resolved = try await fixture.resolve("a")
      let error = await #expect(throws: ImageError.self) {
        try await fixture.client.download(fixture.repository("a"), resolved.blobs[0])
      }
      #expect(error?.kind == (what == "gone" ? .notFound : .corrupt))
      #expect(error?.message.contains(added.layers[0]) == true, "\(String(describing: error))")
    }
  }

  @Test(arguments: ["manifest", "config", "docker digest"]) func badDocument(_ what: String) async throws {
    try await with { fixture in
      let added = fixture.registry.add(layers: [[1]], tags: "latest")
      fixture.registry.answer { request in
        if what == "manifest", request.uri.contains("/manifests/") { return .init(body: Array("{}".utf8)) }
        if what == "config", request.uri.hasSuffix(added.id) { return .init(body: Array("{}".utf8)) }
        if what == "docker digest", request.uri.contains("/manifests/") {
          return .init(headers: [("Docker-Content-Digest", ContentDigest(of: []).text)], body: Array("{}".utf8))
        }
        return nil
      }
      let name = what == "manifest" ? "a@\(added.manifest)" : "a"
      #expect(await #expect(throws: ImageError.self) { try await fixture.resolve(name) }?.kind == .corrupt)
    }
  }

  @Test func largeManifest() async throws {
    try await with({ $0.limits.manifestBytes = 1_000 }) { fixture in
      fixture.registry.answer { _ in .init(body: [UInt8](repeating: 32, count: 2_000)) }
      #expect(await #expect(throws: ImageError.self) { try await fixture.resolve("a") }?.kind == .limit)
    }
  }
}
