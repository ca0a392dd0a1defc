import Glibc
import RuntimeModel
import Testing

@testable import CDI

/// A directory tree of specifications that goes with the test.
private final class Files {
  let base = "/tmp/swiftlet-cdi-\(String(UInt64.random(in: .min ... .max), radix: 36))"
  private var made: [String] = []

  init() throws {
    try #require(mkdir(base, 0o700) == 0)
    for name in ["a", "b"] { try #require(mkdir("\(base)/\(name)", 0o700) == 0) }
  }

  deinit {
    for path in made { unlink(path) }
    for name in ["/a", "/b", ""] { rmdir(base + name) }
  }

  func write(_ name: String, _ text: String) throws {
    let path = "\(base)/\(name)"
    let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    try #require(file >= 0)
    defer { close(file) }
    try #require(Glibc.write(file, text, text.utf8.count) == text.utf8.count)
    made.append(path)
  }

  var directories: SpecDirectories { SpecDirectories(["\(base)/a", "\(base)/b", "\(base)/absent"]) }

  func edits(_ names: String...) throws -> ContainerEdits {
    try directories.edits(of: try names.map { ("CDI_devices[0].name", try DeviceName($0, field: "x")) })
  }
}

@Suite struct DeviceNameTests {
  @Test(arguments: ["vendor.com/class=name", "v/c=0", "a-b.c_d/x.y=a:b-1", "V/C=n.n"])
  func good(_ text: String) throws { #expect(try DeviceName(text, field: "f").description == text) }

  @Test(arguments: [
    "", "name", "vendor/class", "vendor/class=", "=name", "/class=name", "vendor/=name", "vendor/a/b=name",
    "1v/class=name", "v-/class=name", "vendor/1=name", "vendor/class=-a", "vendor/class=a/b", "vendor/class=a=b",
    "vendor/class=a,b", "vendor/class= a", "../etc/x=y", "vendor/class=a\0b", "vendör/class=a",
  ])
  func bad(_ text: String) {
    #expect { try DeviceName(text, field: "CDI_devices[3].name") } throws: { "\($0)".contains("CDI_devices[3].name") }
  }
}

@Suite struct DeviceSpecTests {
  private static let yaml = """
    ---
    cdiVersion: "0.7.0"
    kind: vendor.com/gpu
    annotations: {made: "by a test"}
    containerEdits:
      env: [ALL=1]
      additionalGids: [44, 0]
    devices:
      - name: "0"
        containerEdits:
          env: ["ONE=a=b"]
          deviceNodes:
            - path: /dev/gpu0
              hostPath: /dev/null
              type: c
              major: 1
              minor: 3
              fileMode: 0640
              permissions: rw
              uid: 7
            - {path: /dev/ctl, permissions: none}
          mounts:
            - {hostPath: /usr/lib/x.so, containerPath: /lib/x.so, options: [ro, nosuid, bind]}
      - name: one
        containerEdits: {env: [TWO=2]}
    """
  private static let json = """
    {"cdiVersion": "0.7.0", "kind": "vendor.com/gpu", "annotations": {"made": "by a test"},
    \t"containerEdits": {"env": ["ALL=1"], "additionalGids": [44, 0], "hooks": [], "intelRdt": null},
    "devices": [{"name": "0", "containerEdits": {"env": ["ONE=a=b"], "deviceNodes": [
      {"path": "\\/dev/gpu0", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 416,
       "permissions": "rw", "uid": 7}, {"path": "/dev/ctl", "permissions": "none"}],
      "mounts": [{"hostPath": "/usr/lib/x.so", "containerPath": "/lib/x.so", "options": ["ro", "nosuid", "bind"]}]}},
     {"name": "one", "containerEdits": {"env": ["TWO=2"]}}]}
    """

  @Test func bothFormsSayTheSame() throws {
    let files = try Files()
    try files.write("a/one.yaml", Self.yaml)
    let byYAML = try files.edits("vendor.com/gpu=0", "vendor.com/gpu=one")
    try files.write("b/two.json", Self.json)
    #expect(try files.edits("vendor.com/gpu=0", "vendor.com/gpu=one") == byYAML)
    #expect(byYAML.environment == ["ALL=1", "ONE=a=b", "TWO=2"])
    #expect(byYAML.additionalGIDs == [44])
    #expect(byYAML.nodes.map(\.path) == ["/dev/gpu0", "/dev/ctl"])
    #expect(byYAML.nodes.map(\.hostPath) == ["/dev/null", "/dev/ctl"])
    #expect(byYAML.nodes[0].fileMode == 0o640 && byYAML.nodes[0].uid == 7 && byYAML.nodes[0].gid == nil)
    #expect(byYAML.nodes.map(\.permissions) == ["rw", ""])
    #expect(byYAML.mounts.map(\.options) == [["ro", "nosuid", "bind"]])
  }

  private static func spec(
    _ edits: String, version: String = "1.1.0", kind: String = "v/c", name: String = "d"
  ) -> String {
    "{cdiVersion: \(version), kind: \(kind), devices: [{name: \(name), containerEdits: \(edits)}]}"
  }

  /// Each takes its file away, and the answer says what is wrong with it.
  @Test(arguments: [
    ("{env: [A=1], surprise: 1}", "surprise"), ("{env: [\"=1\"]}", "env"), ("{env: [A]}", "env"),
    ("{env: [[A=1]]}", "env"), ("{env: 3}", "env"), ("{}", "empty"),
    ("{deviceNodes: [{path: dev/x}]}", "absolute"), ("{deviceNodes: [{}]}", "path"),
    ("{deviceNodes: [{path: /dev/x, type: d}]}", "type"), ("{deviceNodes: [{path: /dev/x, permissions: rx}]}", "perm"),
    ("{deviceNodes: [{path: /dev/x, major: -1}]}", "major"), ("{deviceNodes: [{path: /dev/x, minor: \"1\"}]}", "minor"),
    ("{mounts: [{hostPath: /x}]}", "containerPath"), ("{mounts: [{containerPath: /x}]}", "hostPath"),
    ("{additionalGids: [4294967295]}", "additionalGids"), ("{env: [A=1], env: [B=1]}", "twice"),
    ("{env: &a [A=1]}", "anchors"), ("{env: *a}", "anchors"), ("{env: [A=1]", "did not find"),
  ])
  func badEdits(_ edits: String, _ word: String) throws {
    let files = try Files()
    try files.write("a/bad.yaml", Self.spec(edits))
    try files.write("b/good.yaml", Self.spec("{env: [A=1]}", kind: "v/other"))
    #expect { try files.edits("v/c=d") } throws: { error in
      guard let error = error as? RuntimeError else { return false }
      return error.code == .notFound && error.message.contains("v/c=d") && error.message.contains("bad.yaml")
        && error.message.contains(word)
    }
    #expect(try files.edits("v/other=d").environment == ["A=1"])
  }

  /// Fields are held to the version that brought them.
  @Test(arguments: [
    ("0.4.0", "v/c", "d", "{deviceNodes: [{path: /dev/x, hostPath: /dev/y}]}", "0.5.0"),
    ("0.3.0", "v/c", "d", "{mounts: [{hostPath: /x, containerPath: /y, type: none}]}", "0.4.0"),
    ("0.6.0", "v/c", "d", "{additionalGids: [1]}", "0.7.0"), ("0.4.0", "v/c", "1", "{env: [A=1]}", "0.5.0"),
    ("0.5.0", "v/c.d", "d", "{env: [A=1]}", "0.6.0"), ("9.0.0", "v/c", "d", "{env: [A=1]}", "9.0.0"),
    ("1.0.0", "v/c", "d", "{netDevices: [{name: a, hostInterfaceName: b}]}", "1.1.0"),
  ])
  func versions(_ version: String, _ kind: String, _ name: String, _ edits: String, _ word: String) throws {
    let files = try Files()
    try files.write("a/x.json", Self.spec(edits, version: version, kind: kind, name: name))
    #expect { try files.edits("\(kind)=\(name)") } throws: { "\($0)".contains(word) && "\($0)".contains("cdiVersion") }
  }

  /// What we do not carry out is refused by its name, and only for a device that has it.
  @Test(arguments: [
    "hooks: [{hookName: createRuntime, path: /bin/x}]", "intelRdt: {closID: x}",
    "netDevices: [{name: a, hostInterfaceName: b}]",
  ])
  func refusedEdits(_ edit: String) throws {
    let files = try Files()
    let field = String(edit.prefix { $0 != ":" })
    try files.write(
      "a/x.yaml",
      "{cdiVersion: 1.1.0, kind: v/c, devices: [{name: bad, containerEdits: {\(edit)}}, {name: good, containerEdits: {env: [A=1]}}]}"
    )
    #expect { try files.edits("v/c=bad") } throws: { error in
      (error as? RuntimeError)?.code == .unimplemented && "\(error)".contains(field) && "\(error)".contains("v/c=bad")
    }
    #expect(try files.edits("v/c=good").environment == ["A=1"])
    // The file's own edits are every device's.
    try files.write(
      "b/x.yaml",
      "{cdiVersion: 1.1.0, kind: v/c, containerEdits: {\(edit)}, devices: [{name: good, containerEdits: {env: [A=1]}}]}"
    )
    #expect { try files.edits("v/c=good") } throws: { "\($0)".contains(field) }
  }

  @Test func theLaterDirectoryCountsAndOneDirectoryMustAgree() throws {
    let files = try Files()
    try files.write("a/1.yaml", Self.spec("{env: [FROM=a]}"))
    try files.write("b/1.yaml", Self.spec("{env: [FROM=b]}"))
    #expect(try files.edits("v/c=d").environment == ["FROM=b"])
    try files.write("b/2.yaml", Self.spec("{env: [FROM=b2]}"))
    #expect { try files.edits("v/c=d") } throws: { error in
      (error as? RuntimeError)?.code == .failedPrecondition && "\(error)".contains("b/1.yaml")
        && "\(error)".contains("b/2.yaml") && "\(error)".contains("v/c=d")
    }
    // A file that is changed counts at once.
    try files.write("b/2.yaml", Self.spec("{env: [FROM=other]}", name: "e"))
    #expect(try files.edits("v/c=d", "v/c=e").environment == ["FROM=b", "FROM=other"])
  }

  @Test func boundsHold() throws {
    let deep = String(repeating: "[", count: 40) + String(repeating: "]", count: 40)
    #expect(throws: RuntimeError.self) { try YAMLValue.parse(Array(deep.utf8), file: "x") }
    let wide = "[" + String(repeating: "a,", count: 110_000) + "]"
    #expect(throws: RuntimeError.self) { try YAMLValue.parse(Array(wide.utf8), file: "x") }
    #expect(throws: RuntimeError.self) { try YAMLValue.parse(Array("a: 1\n---\nb: 1\n".utf8), file: "x") }
    #expect(throws: RuntimeError.self) { try YAMLValue.parse([], file: "x") }
    let files = try Files()
    try #require(mkfifo(files.base + "/a/fifo.json", 0o600) == 0)
    defer { unlink(files.base + "/a/fifo.json") }
    #expect { try files.edits("v/c=d") } throws: { "\($0)".contains("fifo.json") }
  }
}
