import FoundationEssentials
import LinuxSystem
import RuntimeModel

/// The JSON files of the store, each with the version of its form.
enum StoreDocument {
  /// Raised when a version before would misread, and so remove, what is written now; new optional fields do not raise it.
  static let version: Int64 = 1

  /// - Returns: nil for a file that is damaged or not there.
  /// - Throws: of kind `unsupported` for one of a later version.
  static func read<Record: Decodable>(_: Record.Type, _ path: String, limit: Int) throws(ImageError) -> Record? {
    guard let bytes = try? readStoreFile(path, limit: limit) else { return nil }
    let record = try? JSONDecoder().decode(Versioned<Record>.self, from: Data(bytes))
    if let found = record?.version ?? documentVersion(bytes), found > version {
      throw ImageError(.unsupported, LaterFormat(subject: path, found: found, known: version).description)
    }
    return record?.record
  }

  static func encode(_ record: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(Versioned(version: version, record: record)))
  }
}

/// The version stands among the record's own fields, where the first files had none.
private struct Versioned<Record> {
  var version: Int64?
  var record: Record

  enum Key: CodingKey { case version }
}

extension Versioned: Decodable where Record: Decodable {
  init(from decoder: any Decoder) throws {
    version = try decoder.container(keyedBy: Key.self).decodeIfPresent(Int64.self, forKey: .version)
    record = try Record(from: decoder)
  }
}

extension Versioned: Encodable where Record: Encodable {
  func encode(to encoder: any Encoder) throws {
    try record.encode(to: encoder)
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(version, forKey: .version)
  }
}
