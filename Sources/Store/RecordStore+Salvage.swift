internal import RuntimeModel

extension RecordStore {
  /// Copies what can be read of a damaged database: most often a page of many is broken, and every pod of the others
  /// would be ended for want of a record.
  static func salvage(_ path: String, into database: Database) -> (sandboxes: Int, containers: Int) {
    guard let old = try? Database(path: path) else { return (0, 0) }
    var saved = (sandboxes: 0, containers: 0)
    for row in rows(of: "sandboxes", "id, name, '', record", in: old) {
      let outcome = RecordCoding.decode(
        SandboxRecord.self, RecordCoding.Row(id: row.id, record: row.record)
      ) { $0.id }
      guard case .record(let record) = outcome else { continue }
      let isSaved = attempt(database) { (database) throws(StoreError) in
        try database.run(
          "INSERT INTO sandboxes (id, name, record) VALUES (?, ?, ?)",
          [.text(row.id), .text(row.name), .blob(row.record)])
        // Not those of the old table: the record has them, too.
        try lease(record, database)
      }
      if isSaved { saved.sandboxes += 1 }
    }
    for row in rows(of: "containers", "id, name, sandbox, record", in: old) {
      let isSaved = attempt(database) { (database) throws(StoreError) in
        try database.run(
          "INSERT INTO containers (id, name, sandbox, record) VALUES (?, ?, ?, ?)",
          [.text(row.id), .text(row.name), .text(row.sandbox), .blob(row.record)])
      }
      if isSaved { saved.containers += 1 }
    }
    return saved
  }

  private struct Row {
    var id: String
    var name: String
    var sandbox: String
    var record: [UInt8]
  }

  /// Up to the first page that cannot be read, from both ends.
  private static func rows(of table: String, _ columns: String, in database: Database) -> [Row] {
    var found: [Int64: Row] = [:]
    for order in ["ASC", "DESC"] {
      // The failure is the damage.
      try? database.run("SELECT rowid, \(columns) FROM \(table) NOT INDEXED ORDER BY rowid \(order)") { statement in
        guard let id = Database.text(statement, 1), let name = Database.text(statement, 2) else { return }
        found[Database.integer(statement, 0)] = Row(
          id: id, name: name, sandbox: Database.text(statement, 3) ?? "", record: Database.blob(statement, 4))
      }
    }
    return found.sorted { $0.key < $1.key }.map(\.value)
  }

  /// - Returns: false when a row is in the way of others, or what it belongs to was not saved.
  private static func attempt(
    _ database: Database, _ body: (Database) throws(StoreError) -> Void
  ) -> Bool {
    do throws(StoreError) {
      try database.transaction { () throws(StoreError) in try body(database) }
      return true
    } catch {
      return false
    }
  }
}
