import Testing

@testable import ImageStore

@Suite struct ImageDocumentTests {
  static let a = "sha256:" + String(repeating: "a", count: 64)
  static let b = "sha256:" + String(repeating: "b", count: 64)
  static let config = #"{"digest":"\#(a)","size":3}"#

  private func parse(_ text: String, type: String? = nil) throws -> ManifestDocument {
    try ManifestDocument(Array(text.utf8), mediaType: type, name: "manifest x")
  }

  @Test func manifest() throws {
    guard case .manifest(let config, let layers) = try parse(#"{"config":\#(Self.config),"layers":[]}"#) else {
      Issue.record("not a manifest")
      return
    }
    #expect(config.digest.text == Self.a)
    #expect(layers.isEmpty)
  }

  /// ATTACKS.md I07, I09, I10 and schema 1.
  @Test(arguments: [
    (#"{"config":{},"layers":[],"manifests":[]}"#, nil as String?),
    (#"{"manifests":[],"layers":[]}"#, nil),
    (#"{"manifests":[],"config":\#(config)}"#, nil),
    ("{}", nil), ("", nil), ("[]", nil), ("null", nil), ("{", nil),
    (#"{"manifests":[]}"#, "application/vnd.oci.image.manifest.v1+json"),
    (#"{"manifests":[],"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}"#, nil),
    (#"{"config":\#(config),"layers":[]}"#, "application/vnd.oci.image.index.v1+json; charset=utf-8"),
    (#"{"config":\#(config),"layers":[]}"#, "application/vnd.docker.distribution.manifest.list.v2+json"),
    (#"{"config":\#(config)}"#, nil),
    (#"{"config":{"digest":"sha256:../../x","size":1},"layers":[]}"#, nil),
    (#"{"config":{"digest":"sha1:\#(String(a.suffix(40)))","size":1},"layers":[]}"#, nil),
    (#"{"config":{"digest":"\#(a.uppercased())","size":1},"layers":[]}"#, nil),
    (#"{"config":{"digest":"\#(a)0","size":1},"layers":[]}"#, nil),
    (#"{"config":{"digest":"\#(a)","size":"1"},"layers":[]}"#, nil),
    (#"{"schemaVersion":1,"fsLayers":[]}"#, nil),
    (String(repeating: "[", count: 1_000_000), nil),
    (#"{"manifests":"# + String(repeating: #"[{"a":"#, count: 100_000), nil),
  ])
  func refused(_ text: String, _ type: String?) {
    let error = #expect(throws: ImageError.self) { try parse(text, type: type) }
    #expect(error?.kind == .malformed || error?.kind == .unsupported)
    #expect(error?.message.contains("manifest x") == true)
  }

  @Test func notUTF8() {
    #expect(throws: ImageError.self) { try ManifestDocument([0x22, 0xff, 0x22], mediaType: nil, name: "x") }
  }

  private func entry(_ os: String?, _ architecture: String?, _ variant: String? = nil) throws -> Descriptor {
    let seed = "\(os ?? "")\(architecture ?? "")\(variant ?? "")"
    return Descriptor(
      digest: ContentDigest(of: seed.utf8), size: 1,
      platform: os == nil ? nil : .init(architecture: architecture, os: os, variant: variant))
  }

  @Test func platform() throws {
    let index = [
      try entry("linux", "arm64", "v8"), try entry("unknown", "unknown"), try entry("windows", "amd64"),
      try entry("linux", "amd64", "v2"), try entry("linux", "amd64"), try entry("linux", "amd64", "v1"),
    ]
    #expect(try index.forThisMachine("x") == index[4])
    #expect(try Array(index[..<4]).forThisMachine("x") == index[3])
    let error = #expect(throws: ImageError.self) { try Array(index[..<3]).forThisMachine("x") }
    #expect(error?.kind == .noPlatform)
    #expect(error?.message == "x has no image for linux/amd64; it has: linux/arm64/v8, windows/amd64")
    #expect(try [entry(nil, nil)].forThisMachine("x").platform == nil)
  }

  @Test func configuration() throws {
    let text = """
      {"architecture":"amd64","os":"linux","unknown":[1],"config":{"User":"1:2","Env":["A=b"],"Entrypoint":null,
       "Cmd":["x"],"WorkingDir":"/w","Volumes":{"/v":{},"/a":{}},"StopSignal":"SIGQUIT","Labels":{"l":"m"}},
       "rootfs":{"type":"layers","diff_ids":["\(Self.a)","\(Self.b)"]}}
      """
    let document = try ConfigurationDocument(Array(text.utf8), limits: .init(), name: "x")
    #expect(document.configuration.user == "1:2")
    #expect(document.configuration.entrypoint == [])
    #expect(document.configuration.volumes == ["/a", "/v"])
    #expect(document.layers[0].chainID.text == Self.a)
    #expect(document.layers[1].chainID == ContentDigest(of: "\(Self.a) \(Self.b)".utf8))
    #expect(document.id == ContentDigest(of: text.utf8))
  }

  @Test(arguments: [
    "{}", #"{"rootfs":{}}"#, #"{"os":"windows","rootfs":{"diff_ids":[]}}"#, #"{"rootfs":{"diff_ids":["x"]}}"#,
    #"{"config":{"Env":"A"},"rootfs":{"diff_ids":[]}}"#,
  ])
  func configurationRefused(_ text: String) {
    #expect(throws: ImageError.self) { try ConfigurationDocument(Array(text.utf8), limits: .init(), name: "x") }
  }

  @Test func digests() {
    // FIPS 180-2, appendix B.1.
    let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    #expect(ContentDigest(of: "abc".utf8).text == abc)
    for bad in [
      "", "sha256", "sha256:", "md5:" + abc.suffix(32), abc + "0", abc.uppercased(), "sha256:../" + abc.suffix(61),
    ] {
      #expect(ContentDigest(bad) == nil)
    }
    #expect(ContentDigest("sha512:" + String(repeating: "0", count: 128)) != nil)
  }
}

@Suite struct ImageTableTests {
  private func record(_ seed: String, tags: Set<String> = [], sequence: UInt64 = 1) -> ImageRecord {
    ImageRecord(
      id: ContentDigest(of: seed.utf8), tags: tags, digests: [], layers: [], configuration: "", sequence: sequence)
  }

  @Test func retaggingMovesTheTag() throws {
    var table = ImageTable()
    let first = ContentDigest(of: "1".utf8)
    let second = ContentDigest(of: "2".utf8)
    let name = "docker.io/library/x"
    for change in table.changes(
      adding: first, tags: ["\(name):latest"], digests: ["\(name)@\(first)"], layers: [], configuration: "")
    {
      table.apply(change)
    }
    let changes = table.changes(adding: second, tags: ["\(name):latest"], digests: [], layers: [], configuration: "")
    #expect(changes.map(\.id) == [second, first])
    for change in changes { table.apply(change) }
    #expect(try table.find("x")?.id == second)
    #expect(table.records[first]?.tags == [])
    #expect(try table.find("x@\(first)")?.id == first)
    #expect(table.changes(adding: second, tags: ["\(name):latest"], digests: [], layers: [], configuration: "").isEmpty)
  }

  @Test func crashBetweenTwoRecords() throws {
    var table = ImageTable()
    table.apply(record("old", tags: ["docker.io/library/x:latest"], sequence: 3))
    table.apply(record("new", tags: ["docker.io/library/x:latest"], sequence: 4))
    table.settleTags()
    #expect(try table.find("x")?.id == ContentDigest(of: "new".utf8))
    #expect(table.records.values.filter { !$0.tags.isEmpty }.count == 1)
  }

  @Test func findByID() throws {
    var table = ImageTable()
    let one = record("1", tags: ["docker.io/library/x:latest"])
    table.apply(one)
    #expect(try table.find(one.id.text) == one)
    #expect(try table.find(one.id.hex) == one)
    #expect(try table.find(String(one.id.hex.prefix(12))) == one)
    #expect(try table.find("sha256:" + one.id.hex.prefix(12)) == one)
    #expect(try table.find("docker.io/library/x") == one)
    #expect(try table.find("x:other") == nil)
    #expect(try table.find(String(repeating: "0", count: 64)) == nil)
    #expect(throws: ImageError.self) { try table.find("") }
    #expect(throws: ImageError.self) { try table.find("A B") }
    for seed in 2..<40 { table.apply(record("\(seed)")) }
    let error = #expect(throws: ImageError.self) { try table.find(String(one.id.hex.prefix(1))) }
    #expect(error?.kind == .ambiguous)
  }
}
