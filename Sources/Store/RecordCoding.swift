internal import FoundationEssentials
internal import RuntimeModel

/// Records as JSON with the version of their form, so that a later daemon knows what it reads.
enum RecordCoding {
  struct Row {
    var id: String
    var record: [UInt8]
  }

  /// Raised when a record's fields change their meaning; new optional fields do not raise it.
  static let version = 1

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

  /// - Returns: nil for a row that does not read back, which is added to `damaged`.
  static func decode<Record: Codable>(
    _: Record.Type, _ row: Row, _ kind: DamagedRow.Kind, _ damaged: inout [DamagedRow], id: (Record) -> Identifier
  ) -> Record? {
    func refuse(_ reason: String) {
      damaged.append(DamagedRow(kind: kind, id: row.id, reason: "the record of \(kind.rawValue) \(row.id) \(reason)"))
    }
    do {
      let envelope = try JSONDecoder().decode(Envelope<Record>.self, from: Data(row.record))
      guard envelope.version <= version else {
        refuse("was written by a later version (\(envelope.version))")
        return nil
      }
      guard id(envelope.record).value == row.id else {
        refuse("is that of \(id(envelope.record))")
        return nil
      }
      return envelope.record
    } catch {
      refuse("does not read: \(error)")
      return nil
    }
  }
}
