import FoundationEssentials

/// What is written about an image, one file each.
struct ImageRecord: Codable, Hashable, Sendable {
  /// Digest of the config blob.
  var id: ContentDigest
  /// Normal forms.
  var tags: Set<String>
  var digests: Set<String>
  /// Lowest first.
  var layers: [ImageLayer]
  /// The config blob as it came.
  var configuration: String
  /// Grows with each change: of two records with the same tag the younger has it.
  var sequence: UInt64
}

/// What is written beside a layer.
struct LayerRecord: Codable, Hashable, Sendable {
  var diffID: ContentDigest
  var size: LayerSize
}

/// What is written beside a container's writable layer, so that a restarted daemon knows which layers are in use.
struct SnapshotRecord: Codable, Hashable, Sendable {
  var image: ContentDigest
  /// Lowest first.
  var chainIDs: [ContentDigest]
  /// Of the images that the container has mounted; one comes as often as it is held. nil: none.
  var mounted: [ContentDigest]?

  /// All that the snapshot keeps from removal.
  var held: [ContentDigest] { chainIDs + (mounted ?? []) }
}

/// Names and images, and the rules of who has which name. Pure: the caller writes what changes.
struct ImageTable {
  private(set) var records: [ContentDigest: ImageRecord] = [:]
  private(set) var sequence: UInt64 = 0

  /// The records to write so that `tags` and `digests` belong to the image: the image's own first, then those that lose
  /// a tag to it (CRI.md 7.2).
  func changes(
    adding id: ContentDigest, tags: Set<String>, digests: Set<String>, layers: [ImageLayer], configuration: String
  ) -> [ImageRecord] {
    var own =
      records[id]
      ?? ImageRecord(id: id, tags: [], digests: [], layers: layers, configuration: configuration, sequence: 0)
    let before = own
    own.tags.formUnion(tags)
    own.digests.formUnion(digests)
    own.sequence = sequence + 1
    var changes = before.tags == own.tags && before.digests == own.digests && before.sequence != 0 ? [] : [own]
    for other in records.values where other.id != id && !other.tags.isDisjoint(with: tags) {
      var poorer = other
      poorer.tags.subtract(tags)
      changes.append(poorer)
    }
    return changes
  }

  /// - Returns: true when the image is new here.
  @discardableResult
  mutating func apply(_ record: ImageRecord) -> Bool {
    sequence = max(sequence, record.sequence)
    return records.updateValue(record, forKey: record.id) == nil
  }

  @discardableResult
  mutating func remove(_ id: ContentDigest) -> ImageRecord? { records.removeValue(forKey: id) }

  /// Takes tags that two records claim from the older one: a crash came between their writes.
  mutating func settleTags() {
    var holders: [String: ImageRecord] = [:]
    for record in records.values.sorted(by: { $0.sequence < $1.sequence }) {
      for tag in record.tags {
        if let older = holders[tag] { records[older.id]?.tags.remove(tag) }
        holders[tag] = record
      }
    }
  }

  /// The image of that name (CRI.md 1.7): a name, an id, or the beginning of one id.
  ///
  /// - Throws: ``ImageError`` of kind `ambiguous` or `invalidReference`.
  func find(_ text: String) throws(ImageError) -> ImageRecord? {
    guard !text.isEmpty else { throw ImageError(.invalidReference, "the image reference \"\" is empty") }
    let hex = text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : text
    let isHex = !hex.isEmpty && hex.utf8.count <= 64 && hex.utf8.allSatisfy(ContentDigest.isLowerHex)
    if isHex, hex.utf8.count == 64 { return ContentDigest(sha256Hex: hex).flatMap { records[$0] } }
    if !text.hasPrefix("sha256:") {
      do throws(ImageError) {
        let reference = try ImageReference(text)
        if let found = find(reference) { return found }
      } catch {
        guard isHex else { throw error }
      }
    }
    guard isHex else { return nil }
    let matches = records.keys.filter { $0.hex.hasPrefix(hex) }
    guard matches.count < 2 else { throw ImageError(.ambiguous, "\(matches.count) image ids begin with \(hex)") }
    return matches.first.flatMap { records[$0] }
  }

  private func find(_ reference: ImageReference) -> ImageRecord? {
    let text = reference.description
    return records.values.first { reference.digest == nil ? $0.tags.contains(text) : $0.digests.contains(text) }
  }
}
