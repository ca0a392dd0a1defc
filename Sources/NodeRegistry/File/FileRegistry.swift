internal import FoundationEssentials
internal import Glibc
internal import LinuxSystem
internal import RuntimeModel

/// A file with a JSON list of node records, written by an administrator or a tool. A file that cannot be read leaves
/// everything as it was, and is reported.
struct FileRegistry: Sendable {
  private static let limit = 16 << 20
  /// How long a change may go unnoticed where inotify does not work, as on some network file systems.
  private static let interval = Duration.seconds(30)

  let path: String
  let own: NodeRecord
  let feed: RegistryFeed
  private let threads = BlockingPool(threads: 1)

  init(path: String, own: NodeRecord, feed: RegistryFeed) {
    self.path = path
    self.own = own
    self.feed = feed
  }

  func follow() async {
    let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    var revision: Int64 = 0
    var watch: DirectoryWatch?
    while !Task.isCancelled {
      // Before the file is read: a change while it is being read is seen at the next turn.
      if watch == nil { watch = try? DirectoryWatch(directory.isEmpty ? "/" : directory) }
      revision += 1
      await read(revision)
      do {
        if let watch {
          if try await !watch.change(within: Self.interval) { continue }
        } else {
          try await Task.sleep(for: .seconds(5))
        }
      } catch {
        watch = nil
      }
    }
  }

  private func read(_ revision: Int64) async {
    do {
      let path = path
      let bytes = try await threads.run { try readSmallFile(path, limit: Self.limit) }
      let nodes = try Self.parse(bytes, path)
      var view = RegistryView(nodes: nodes, revision: revision)
      let record = nodes.first { $0.name == own.name }
      view.ownBlocks = own.podCIDRs.isEmpty ? record?.podCIDRs ?? [] : own.podCIDRs
      if let record, !own.podCIDRs.isEmpty, Set(record.podCIDRs) != Set(own.podCIDRs) {
        view.trouble = "\(path): the record of this node says \(record.podCIDRs), its configuration \(own.podCIDRs)"
      } else if record == nil && own.podCIDRs.isEmpty {
        view.trouble = "\(path): there is no record of this node, \"\(own.name)\""
      }
      if view.nodes == (await feed.view).nodes { view.revision = (await feed.view).revision }
      await feed.publish(view)
    } catch is CancellationError {
      return
    } catch {
      await feed.publish(trouble: "\(error)")
    }
  }

  static func parse(_ bytes: [UInt8], _ path: String) throws(RegistryError) -> [NodeRecord] {
    do {
      return try JSONDecoder().decode([NodeRecord].self, from: Data(bytes))
    } catch let error as DecodingError {
      throw .file(path: path, reason: error.sentence)
    } catch {
      throw .file(path: path, reason: "\(error)")
    }
  }
}

extension DecodingError {
  /// Where, and what.
  var sentence: String {
    switch self {
    case .keyNotFound(let key, let context): "\(Self.place(context.codingPath))\"\(key.stringValue)\" is missing"
    case .typeMismatch(let type, let context): "\(Self.place(context.codingPath))must be of type \(type)"
    case .valueNotFound(_, let context): "\(Self.place(context.codingPath))must not be null"
    case .dataCorrupted(let context): "\(Self.place(context.codingPath))\(context.debugDescription)"
    @unknown default: "\(self)"
    }
  }

  private static func place(_ path: [any CodingKey]) -> String {
    let text = path.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }.joined()
    return text.isEmpty ? "" : "\(text.drop { $0 == "." }): "
  }
}
