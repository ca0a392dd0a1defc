import Foundation
import LinuxSystem
import Testing

@testable import CNI

@Suite struct NetworkListTests {
  private static func list(_ text: String) throws -> NetworkList {
    try NetworkList(JSON(parsing: Array(text.utf8)), path: "/net.d/10.conflist")
  }

  @Test func aListIsRead() throws {
    let list = try Self.list(
      """
      {"name": "pods", "cniVersion": "1.0.0", "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local"}},
        {"type": "portmap", "capabilities": {"portMappings": true, "ips": false}}]}
      """)
    #expect(list.name == "pods" && list.version == "1.0.0")
    #expect(list.plugins.map(\.type) == ["bridge", "portmap"])
    #expect(list.plugins[1].capabilities == ["portMappings"])
    #expect(list.isAtLeast("0.4.0") && list.isAtLeast("1.0.0") && !list.isAtLeast("1.1.0"))
  }

  @Test func theHighestVersionThatWeSpeakCounts() throws {
    let text = #"{"name": "n", "cniVersion": "0.4.0", "cniVersions": ["2.0.0", "1.1.0"], "plugins": [{"type": "x"}]}"#
    #expect(try Self.list(text).version == "1.1.0")
  }

  /// What a file can be, and what is said of it.
  static let mistakes: [(row: String, text: String, words: String)] = [
    ("no object", "[]", "is not a JSON object"),
    ("no name", #"{"cniVersion": "1.0.0", "plugins": [{"type": "x"}]}"#, "name must be"),
    ("a path as name", #"{"name": "../x", "cniVersion": "1.0.0", "plugins": [{"type": "x"}]}"#, "name must be"),
    ("no version", #"{"name": "n", "plugins": [{"type": "x"}]}"#, "cniVersion is missing"),
    ("a later version", #"{"name": "n", "cniVersion": "2.0.0", "plugins": [{"type": "x"}]}"#, "2.0.0 is none of"),
    ("no plugins", #"{"name": "n", "cniVersion": "1.0.0", "plugins": []}"#, "plugins is missing or empty"),
    ("no type", #"{"name": "n", "cniVersion": "1.0.0", "plugins": [{}]}"#, "plugins[0].type"),
    ("a path as type", #"{"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "/bin/sh"}]}"#, "plugins[0].type"),
  ]

  @Test(arguments: mistakes) func mistakesAreNamed(row: String, text: String, words: String) throws {
    do {
      _ = try Self.list(text)
      Issue.record("\(row) was taken")
    } catch let error as CNIError {
      #expect(error.description.contains(words) && error.description.hasPrefix("/net.d/10.conflist: "), "\(error)")
    }
  }

  @Test func theFirstFileByNameIsTakenAndNoOther() throws {
    let directory = try TestDirectory()
    defer { directory.remove() }
    #expect(throws: CNIError.noConfiguration(directory: directory.path)) { try NetworkList.first(in: directory.path) }
    try directory.write("20.conflist", #"{"name": "b", "cniVersion": "1.0.0", "plugins": [{"type": "x"}]}"#)
    try directory.write(
      "10.conf", #"{"name": "a", "cniVersion": "0.3.1", "type": "single", "capabilities": {"ips": true}}"#)
    try directory.write("00.txt", "not for us")
    let list = try NetworkList.first(in: directory.path)
    #expect(list.name == "a" && list.version == "0.3.1" && list.plugins.map(\.type) == ["single"])
    try directory.write("05.conflist", "{ broken")
    do {
      _ = try NetworkList.first(in: directory.path)
      Issue.record("a broken file was passed over")
    } catch {
      #expect(error.description.contains("05.conflist: is not JSON"), "\(error)")
    }
  }
}

/// A directory for one test.
struct TestDirectory {
  let path: String

  init() throws {
    path = "/tmp/cni-test-\(UInt32.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  func write(_ name: String, _ text: String, executable: Bool = false) throws {
    try text.write(toFile: "\(path)/\(name)", atomically: false, encoding: .utf8)
    if executable {
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(path)/\(name)")
    }
  }

  func read(_ name: String) throws -> String { try String(contentsOfFile: "\(path)/\(name)", encoding: .utf8) }

  func remove() { try? FileManager.default.removeItem(atPath: path) }
}
