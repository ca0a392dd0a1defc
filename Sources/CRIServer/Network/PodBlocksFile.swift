import FoundationEssentials
import LinuxSystem
import RuntimeModel

/// `pod-blocks.json` of the network's state directory: the pod blocks that kubelet gave this node.
struct PodBlocksFile: Sendable {
  /// Raised when a version before would misread the file.
  private static let version: Int64 = 1

  private struct Content: Codable {
    /// The first files have none.
    var version: Int64?
    var blocks: [String]
    /// What the configuration said then: once it says something else, the configuration counts again.
    var insteadOf: [String]
  }

  private let path: String?

  init(directory: String?) { path = directory.map { "\($0)/pod-blocks.json" } }

  /// - Returns: nil where kubelet gave none, or the configuration has changed since.
  /// - Throws: `internalError` where the file cannot be read: other blocks than those of running pods would cut them off.
  ///   ``LaterFormat``.
  func read(unless configured: [String]) throws -> [String]? {
    guard let path, let text = try HostFiles.read(path) else { return nil }
    if let found = documentVersion(Array(text.utf8)), found > Self.version {
      throw LaterFormat(subject: path, found: found, known: Self.version)
    }
    do {
      let content = try JSONDecoder().decode(Content.self, from: Data(text.utf8))
      return content.insteadOf == configured ? content.blocks : nil
    } catch {
      throw RuntimeError(.internalError, "\(path): \(error)")
    }
  }

  func write(_ blocks: [String], insteadOf configured: [String]) throws {
    guard let path else { return }
    let bytes = try JSONEncoder().encode(Content(version: Self.version, blocks: blocks, insteadOf: configured))
    try HostFiles.replace(String(decoding: bytes, as: UTF8.self), at: path, mode: 0o600)
  }
}
