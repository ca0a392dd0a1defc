internal import FoundationEssentials
internal import Glibc
internal import LinuxSystem
package import RuntimeModel

/// `nodes.json` of the state directory: what the registry said last, for a start while it is away.
struct SnapshotFile: Sendable {
  /// Raised when a version before would misread the file.
  private static let version: Int64 = 1

  private struct Content: Codable {
    /// The first files have none.
    var version: Int64?
    var name: String
    var blocks: [String]
    var nodes: [NodeRecord]
  }

  private static let limit = 64 << 20
  private let directory: String?
  private let threads = BlockingPool(threads: 1)

  init(directory: String?) { self.directory = directory }

  /// A file that a later version has written is not one to be read as if there were none: peers would be cut off.
  func check() throws(LaterFormat) {
    guard let path, let bytes = try? readSmallFile(path, limit: Self.limit) else { return }
    guard let found = documentVersion(bytes), found > Self.version else { return }
    throw LaterFormat(subject: path, found: found, known: Self.version)
  }

  /// - Returns: an empty view where there is no file, one of another node, or a torn one.
  func read(own: String) async -> RegistryView {
    var view = RegistryView()
    guard let path else { return view }
    guard
      let bytes = try? await threads.run({ try readSmallFile(path, limit: Self.limit) }),
      let content = try? JSONDecoder().decode(Content.self, from: Data(bytes)), content.name == own
    else { return view }
    view.nodes = content.nodes
    view.ownBlocks = content.blocks
    return view
  }

  /// Whole or not at all. Not synced: a node that has lost its power asks the registry.
  func write(_ view: RegistryView, own: String) async throws {
    guard let path else { return }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    let bytes = try encoder.encode(Content(version: Self.version, name: own, blocks: view.ownBlocks, nodes: view.nodes))
    try await threads.run {
      let fresh = path + ".new"
      try? unlinkIfThere(fresh)
      try writeNewFile(fresh, Array(bytes))
      guard rename(fresh, path) == 0 else { throw RegistryError.file(path: path, reason: "rename: errno \(errno)") }
    }
  }

  private var path: String? { directory.map { $0 + "/nodes.json" } }
}

private func unlinkIfThere(_ path: String) throws(RegistryError) {
  guard unlink(path) == 0 || errno == ENOENT else { throw .file(path: path, reason: "unlink: errno \(errno)") }
}

private func writeNewFile(_ path: String, _ bytes: [UInt8]) throws(RegistryError) {
  let raw = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
  guard raw >= 0 else { throw .file(path: path, reason: "open: errno \(errno)") }
  defer { close(raw) }
  var offset = 0
  while offset < bytes.count {
    let count = bytes[offset...].withUnsafeBytes { Glibc.write(raw, $0.baseAddress, $0.count) }
    guard count > 0 else { throw .file(path: path, reason: "write: errno \(errno)") }
    offset += count
  }
}
