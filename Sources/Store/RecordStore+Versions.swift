internal import Glibc
internal import RuntimeModel

extension RecordStore {
  /// Looks for what a later version has written, before anything is changed: a daemon that took it for damage would set
  /// the database aside or end the pods. What cannot be read here is damage, which is the opening's matter.
  ///
  /// - Throws: ``StoreError/laterFormat(_:)``.
  static func refuseLater(_ path: String) throws(StoreError) {
    guard access(path, F_OK) == 0, let database = try? Database(path: path, readOnly: true) else { return }
    var version: Int64 = 0
    try? database.run("PRAGMA user_version") { version = Database.integer($0, 0) }
    guard version <= schemaVersion else {
      throw .laterFormat(LaterFormat(subject: "the database \(path)", found: version, known: schemaVersion))
    }
    for kind in [DamagedRow.Kind.sandbox, .container] {
      var later: StoreError?
      // Of a damaged table the rows up to the damage, from both ends.
      for order in ["ASC", "DESC"] {
        do {
          try database.run("SELECT id, record FROM \(kind.table) NOT INDEXED ORDER BY rowid \(order)") { statement in
            guard later == nil, let version = RecordCoding.laterVersion(Database.blob(statement, 1)) else { return }
            later = laterRow(kind, Database.text(statement, 0) ?? "", version, path)
          }
          break
        } catch {
          continue
        }
      }
      if let later { throw later }
    }
  }

  static func laterRow(_ kind: DamagedRow.Kind, _ id: String, _ version: Int, _ path: String) -> StoreError {
    .laterFormat(
      LaterFormat(
        subject: "the record of \(kind.rawValue) \(id) in \(path)", found: Int64(version),
        known: Int64(RecordCoding.version)))
  }
}

extension DamagedRow.Kind {
  /// Where such rows are.
  var table: String {
    switch self {
    case .sandbox: "sandboxes"
    case .container: "containers"
    }
  }
}
