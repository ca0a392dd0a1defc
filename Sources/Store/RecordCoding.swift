internal import FoundationEssentials
internal import RuntimeModel

/// Records as JSON with the version of their form, so that an earlier daemon knows that it does not know it.
enum RecordCoding {
  struct Row {
    var id: String
    var record: [UInt8]
  }

  /// Raised when a daemon before would misread a record or refuse it, and then end its pod: a field changes its meaning,
  /// a case is added, a request holds what was refused until now. New optional fields do not raise it.
  static let version = 1

  /// What a row turns out to be.
  enum Outcome<Record> {
    case record(Record)
    /// Of that version, later than ours.
    case later(Int)
    /// Nothing can be made of it; why.
    case damaged(String)
  }

  private struct Envelope<Record: Codable>: Codable {
    var version: Int
    var record: Record
  }

  static func encode(_ record: some Codable) throws(StoreError) -> [UInt8] {
    do {
      return Array(try JSONEncoder().encode(Envelope(version: version, record: record)))
    } catch {
      throw .damaged("a record does not encode: \(error)")
    }
  }

  /// The version of a record later than ours, whose other fields may be any; nil for all else.
  static func laterVersion(_ record: [UInt8]) -> Int? {
    documentVersion(record).flatMap { $0 > version ? Int(clamping: $0) : nil }
  }

  static func decode<Record: Codable>(_: Record.Type, _ row: Row, id: (Record) -> Identifier) -> Outcome<Record> {
    do {
      let envelope = try JSONDecoder().decode(Envelope<Record>.self, from: Data(row.record))
      if envelope.version > version { return .later(envelope.version) }
      let found = id(envelope.record)
      return found.value == row.id ? .record(envelope.record) : .damaged("is that of \(found)")
    } catch {
      return laterVersion(row.record).map { .later($0) } ?? .damaged("does not read: \(error)")
    }
  }
}
