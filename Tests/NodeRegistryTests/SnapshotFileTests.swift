import Foundation
import RuntimeModel
import Testing

@testable import NodeRegistry

@Suite struct SnapshotFileTests {
  /// Its peers are not forgotten because this version cannot read of them.
  @Test func aLaterVersionsFileIsRefused() async throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "snapshot-\(UUID())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let file = SnapshotFile(directory: directory.path)
    try file.check()
    var view = RegistryView()
    view.ownBlocks = ["10.244.1.0/24"]
    try await file.write(view, own: "node")
    try file.check()
    #expect(await file.read(own: "node").ownBlocks == view.ownBlocks)
    let path = directory.appending(path: "nodes.json")
    try Data(#"{"version": 99, "of": "another form"}"#.utf8).write(to: path)
    #expect(throws: LaterFormat(subject: path.path, found: 99, known: 1)) { try file.check() }
    // Damage is not for ever: the registry is asked.
    try Data("damaged".utf8).write(to: path)
    try file.check()
  }
}
