import RuntimeModel
import Testing

@testable import ImageStore

@Suite struct ImageReferenceTests {
  static let hex = String(repeating: "0123456789abcdef", count: 4)
  static let digest = "sha256:" + hex

  /// CRI.md 7.1, row by row.
  @Test(arguments: [
    ("busybox", "docker.io/library/busybox:latest"),
    ("busybox:1.36", "docker.io/library/busybox:1.36"),
    ("foo/bar", "docker.io/foo/bar:latest"),
    ("foo/bar/baz:x", "docker.io/foo/bar/baz:x"),
    ("host.example/x", "host.example/x:latest"),
    ("host:5000/x", "host:5000/x:latest"),
    ("localhost/x", "localhost/x:latest"),
    ("localhost:5000/x/y:z", "localhost:5000/x/y:z"),
    ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
    ("[::1]:5000/x", "[::1]:5000/x:latest"),
    ("index.docker.io/x", "docker.io/library/x:latest"),
    ("docker.io/x", "docker.io/library/x:latest"),
    ("docker.io/library/x:1", "docker.io/library/x:1"),
    ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
    ("gcr.io/k8s-staging-cri-tools/test-image-1", "gcr.io/k8s-staging-cri-tools/test-image-1:latest"),
    ("a__b/c-d--e.f", "docker.io/a__b/c-d--e.f:latest"),
    ("x:A_b.C-1", "docker.io/library/x:A_b.C-1"),
    ("x@\(digest)", "docker.io/library/x@\(digest)"),
    ("x:tag@\(digest)", "docker.io/library/x@\(digest)"),
    ("host:1/a:tag@\(digest)", "host:1/a@\(digest)"),
    ("Host.example/x", "Host.example/x:latest"),
  ])
  func normalForm(_ text: String, _ normal: String) throws {
    let reference = try ImageReference(text)
    #expect(reference.description == normal)
    #expect(try ImageReference(normal) == reference)
  }

  @Test func digestLeavesNoTag() throws {
    let reference = try ImageReference("x:tag@\(Self.digest)")
    #expect(reference.tag == nil)
    #expect(reference.target == Self.digest)
  }

  @Test func dockerAnswersElsewhere() throws {
    #expect(try ImageReference("busybox").endpoint == "registry-1.docker.io")
    #expect(try ImageReference("quay.io/a/b").endpoint == "quay.io")
  }

  @Test(arguments: [
    "", " ", "UPPER", "a/UPPER", "a b", "a:", ":a", "a:b:c", "a/", "/a", "a//b", "a:-x", "a:.x", "-a", "a-", "a..b",
    "a___b", "a._b", "a@", "a@sha256:", "a@sha256:abc", "a@sha1:\(hex.prefix(40))", "a@md5:\(hex.prefix(32))",
    "a@SHA256:\(hex)", "a@sha256:\(hex.uppercased())", "a@\(digest)@\(digest)", hex, "docker.io/\(hex)", "ä", "a\0b",
    "a\n", "host:99999/x", "host:/x", "host:12a/x", "-host.x/y", "ho_st.x/y", "[::1/x", "[x]:1/x", "http://a/b", "..",
    "../x", "a/../b", "a/./b", String(repeating: "a", count: 300), "x:\(String(repeating: "t", count: 129))",
    "sha256:" + hex,
  ])
  func refused(_ text: String) {
    #expect(throws: ImageError.self) { try ImageReference(text) }
  }

  @Test func refusalIsInvalidArgument() {
    let error = #expect(throws: ImageError.self) { try ImageReference("UPPER") }
    #expect(error?.runtimeError.code == .invalidArgument)
    #expect(error?.message.contains("\"UPPER\"") == true)
  }

  /// What parses prints to something that parses to the same.
  @Test(arguments: [UInt64(1), 42, 20_261_123])
  func parseAndPrintAreInverse(_ seed: UInt64) throws {
    var generator = SplitMix(state: seed)
    let pieces = [
      "a", "b0", "/", ":", "@", ".", "-", "_", "__", "A", "localhost", "host.x", ":5000", "latest", Self.digest,
      "[::1]", "9",
    ]
    var parsed = 0
    for _ in 0..<20_000 {
      let text = (0..<Int.random(in: 1...7, using: &generator)).map { _ in
        pieces.randomElement(using: &generator) ?? ""
      }.joined()
      guard let reference = try? ImageReference(text) else { continue }
      parsed += 1
      #expect(try ImageReference(reference.description) == reference, "seed \(seed): \(text)")
    }
    #expect(parsed > 500)
  }
}

/// Small and the same everywhere, so that a seed means one sequence.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
