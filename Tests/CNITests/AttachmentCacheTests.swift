import Foundation
import RuntimeModel
import Testing

@testable import CNI

@Suite struct AttachmentCacheTests {
  /// A sandbox that this version could not detach.
  @Test func aLaterVersionsFileIsRefused() throws {
    let directory = try TestDirectory()
    defer { directory.remove() }
    let cache = AttachmentCache(directory: directory.path)
    let sandbox = Identifier.random()
    try directory.write("\(sandbox).json", "damaged")
    try cache.check()
    try directory.write("\(sandbox).json", #"{"form": 1}"#)
    try cache.check()
    try directory.write("\(sandbox).json", #"{"form": 2, "of": "another kind"}"#)
    let path = "\(directory.path)/\(sandbox).json"
    #expect(throws: LaterFormat(subject: path, found: 2, known: 1)) { try cache.check() }
  }
}
