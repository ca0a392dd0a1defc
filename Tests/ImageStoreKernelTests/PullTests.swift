import Dispatch
import Glibc
import Testing

@testable import ImageStore

@Suite(.enabled(if: isKernelTestWanted(), "SWIFTLET_KERNEL_TESTS is not 1"), .timeLimit(.minutes(10)))
struct PullTests {
  typealias Entry = TarBuilder.Entry

  private func with(
    _ change: (inout RegistryConfiguration) -> Void = { _ in },
    _ body: (StoreFixture, StubRegistry) async throws -> Void
  ) async throws {
    let fixture = try StoreFixture(change)
    let registry = try await StubRegistry()
    try await body(fixture, registry)
    await fixture.expectNoTemporaries()
    await fixture.store.shutdown()
    fixture.expectUntouched()
    try await registry.stop()
  }

  static func layers(_ count: Int) -> [[UInt8]] {
    (0..<count).map { TarBuilder.archive([.file("f\($0)", String(repeating: "\($0)", count: 1_000))]) }
  }

  @Test func pulled() async throws {
    try await with { fixture, registry in
      let plain = Self.layers(3)
      let added = registry.add(
        layers: plain.map { StoredGzip.members([$0]) }, diffIDs: plain.map { ContentDigest(of: $0).text },
        tags: "latest", "v1")
      let name = "\(registry.host)/a/b"
      let image = try await fixture.store.pull(name, credentials: nil)
      #expect(image.id == added.id)
      #expect(image.repoTags == ["\(name):latest"])
      #expect(image.repoDigests == ["\(name)@\(added.manifest)"])
      let blobs = registry.count("/blobs/")
      #expect(blobs == 4)
      let same = try await fixture.store.pull("\(name):v1", credentials: nil)
      #expect(same.id == image.id && same.repoTags == ["\(name):latest", "\(name):v1"])
      // Only the config is asked for again: every layer is here.
      #expect(registry.count("/blobs/") == blobs + 1)
      let other = try await fixture.store.pull("\(registry.host)/other@\(added.manifest)", credentials: nil)
      #expect(other.id == image.id && other.repoDigests.count == 2)
      #expect(fixture.store.list().count == 1)
    }
  }

  @Test func byDigestHasNoTag() async throws {
    try await with { fixture, registry in
      let added = registry.add(layers: Self.layers(1))
      let name = "\(registry.host)/a@\(added.manifest)"
      let image = try await fixture.store.pull(name, credentials: nil)
      #expect(image.repoTags == [] && image.repoDigests == [name])
    }
  }

  /// FAULTS.md F53.
  @Test func tenAtOnceDownloadOnce() async throws {
    try await with { fixture, registry in
      registry.add(layers: Self.layers(5), tags: "latest")
      // Nothing is answered before all are there: who comes after the others' end downloads the configuration again.
      let missing = DispatchGroup()
      for _ in 0..<10 { missing.enter() }
      registry.answer { _ in
        _ = missing.wait(timeout: .now() + 60)
        return nil
      }
      let ids = try await withThrowingTaskGroup(of: String.self) { group in
        for _ in 0..<10 {
          group.addTask {
            missing.leave()
            return try await fixture.store.pull("\(registry.host)/a", credentials: nil).id
          }
        }
        return try await group.reduce(into: Set<String>()) { $0.insert($1) }
      }
      #expect(ids.count == 1)
      for request in registry.requests where request.uri.contains("/blobs/") {
        #expect(registry.requests.filter { $0.uri == request.uri }.count <= 2)
      }
    }
  }

  @Test func imagesShareLayers() async throws {
    try await with { fixture, registry in
      let layers = Self.layers(6)
      registry.add(layers: Array(layers[..<4]), tags: "one")
      registry.add(layers: Array(layers[..<3]) + [layers[5]], tags: "two")
      async let one = fixture.store.pull("\(registry.host)/a:one", credentials: nil)
      async let two = fixture.store.pull("\(registry.host)/a:two", credentials: nil)
      let pair = try await (one, two)
      #expect(pair.0.layers[2] == pair.1.layers[2])
      #expect(StoreFixture.names(fixture.base + "/store/layers").count == 5)
      try await fixture.store.remove(pair.0.id)
      await fixture.expectNoTemporaries()
      #expect(StoreFixture.names(fixture.base + "/store/layers").count == 4)
    }
  }

  /// critest: a deadline of 1 ms; CRI.md 0.2.
  @Test func cancelled() async throws {
    try await with({ $0.stallTimeout = .seconds(600) }) { fixture, registry in
      let added = registry.add(layers: Self.layers(2), tags: "latest")
      registry.answer { $0.uri.hasSuffix(added.layers[0]) ? .init(isSilent: true) : nil }
      let pull = Task { try await fixture.store.pull("\(registry.host)/a", credentials: nil) }
      while registry.count(added.layers[0]) == 0 { try await Task.sleep(for: .milliseconds(2)) }
      let elapsed = await ContinuousClock().measure {
        pull.cancel()
        await #expect(throws: CancellationError.self) { try await pull.value }
      }
      #expect(elapsed < .seconds(60), "by the cancellation, not by the end of patience")
      registry.answer { _ in nil }
      _ = try await fixture.store.pull("\(registry.host)/a", credentials: nil)
    }
  }

  /// ATTACKS.md I16, I01; FAULTS.md F50: nothing of a pull that fails stays but whole layers until the next start.
  @Test(arguments: ["diff id", "outside", "digest", "cut"]) func failed(_ what: String) async throws {
    try await with { fixture, registry in
      let good = Self.layers(1)[0]
      var bad = Self.layers(2)[1]
      if what == "outside" { bad = TarBuilder.archive([.file("../../escape")]) }
      let diff = what == "diff id" ? ContentDigest(of: []).text : ContentDigest(of: bad).text
      let added = registry.add(layers: [good, bad], diffIDs: [ContentDigest(of: good).text, diff], tags: "latest")
      let content = bad
      registry.answer { request in
        guard request.uri.hasSuffix(added.layers[1]) else { return nil }
        return switch what {
        case "digest": .init(body: content.map { $0 ^ 1 })
        case "cut": .init(body: content, cut: 0)
        default: nil
        }
      }
      let error = await #expect(throws: ImageError.self) {
        try await fixture.store.pull("\(registry.host)/a", credentials: nil)
      }
      #expect(error?.kind == (what == "outside" ? .malformed : .corrupt), "\(String(describing: error))")
      #expect(fixture.store.list().isEmpty)
      await fixture.expectNoTemporaries()
      #expect(StoreFixture.names(fixture.base + "/store/layers") == [])
      #expect(StoreFixture.names(fixture.base + "/store/images") == [])
    }
  }
}
