internal import CSQLite
internal import Glibc
package import RuntimeModel
internal import Synchronization

/// What the daemon knows about sandboxes and containers, on disk: `state.db`, one transaction per change.
///
/// SQLite in WAL mode with synchronous=NORMAL: consistent after a loss of power, and a change that returned survives
/// the daemon's death; the last ones may be missing after a loss of power, when nothing of them runs any more either.
/// A call blocks its thread for the time of one write (tens of microseconds).
package final class RecordStore: Sendable {
  /// Format of the tables. Raised when a daemon before would misread them, as ``RecordCoding/version`` for the rows; what
  /// is of a later one is refused.
  static let schemaVersion: Int64 = 1

  private let database: Mutex<Database>
  private let path: String
  private let lastRefusal = Mutex<String?>(nil)
  /// What was found wrong with the file when it was opened; part of what ``load()`` reports.
  private let found: [String]

  /// Opens or makes the database. Its directory is there and ours.
  ///
  /// A file that SQLite finds damaged is set aside as `<path>.damaged-<time>`, a new one begins with what can be read of
  /// it, and ``load()`` says so.
  /// - Throws: ``StoreError/laterFormat(_:)`` before anything is changed; ``StoreError/database(code:message:)`` when it
  ///   cannot be opened or is locked by another process.
  package init(path: String) throws(StoreError) {
    try Self.refuseLater(path)
    self.path = path
    var found: [String] = []
    let opened: Database
    do {
      opened = try Self.open(path)
    } catch {
      guard case .database(let code, let message) = error, Self.isDamage(code) else { throw error }
      let aside = try Self.setAside(path)
      opened = try Self.open(path)
      let saved = Self.salvage(aside, into: opened)
      found.append(
        "\(path) was damaged (\(message)): it is kept as \(aside), and of its records \(saved.sandboxes) sandboxes and "
          + "\(saved.containers) containers could be read")
    }
    database = Mutex(opened)
    self.found = found
  }

  /// Writes a new sandbox with its name and its addresses, or nothing of it.
  ///
  /// - Throws: ``StoreError/nameTaken(holder:)``, ``StoreError/addressTaken(address:)``.
  package func insert(_ sandbox: SandboxRecord) throws(StoreError) {
    let record = try RecordCoding.encode(sandbox)
    let key = sandbox.metadata.key
    try write { (database) throws(StoreError) in
      try Self.requireFree(key, in: "sandboxes", database)
      try database.run(
        "INSERT INTO sandboxes (id, name, record) VALUES (?, ?, ?)",
        [.text(sandbox.id.value), .text(key), .blob(record)])
      try Self.lease(sandbox, database)
    }
  }

  /// Writes a sandbox anew; its address rows become those of its lease.
  ///
  /// - Throws: ``StoreError/notFound(_:)``, ``StoreError/nameTaken(holder:)``, ``StoreError/addressTaken(address:)``.
  package func update(_ sandbox: SandboxRecord) throws(StoreError) { try update(newest: { sandbox }) }

  /// Writes a sandbox as it is when its turn comes: of two who have changed it the later one writes what both have, and
  /// an older state never comes after a newer one.
  package func update(newest: () -> SandboxRecord) throws(StoreError) {
    try write { (database) throws(StoreError) in
      let sandbox = newest()
      let record = try RecordCoding.encode(sandbox)
      try database.run(
        "UPDATE sandboxes SET record = ? WHERE id = ?", [.blob(record), .text(sandbox.id.value)])
      guard database.changes == 1 else { throw .notFound(sandbox.id) }
      try Self.matchLease(sandbox, database)
    }
  }

  /// Removes a sandbox, its addresses and its containers. Idempotent.
  package func remove(sandbox: Identifier) throws(StoreError) {
    try write { (database) throws(StoreError) in
      try database.run("DELETE FROM sandboxes WHERE id = ?", [.text(sandbox.value)])
    }
  }

  /// - Throws: ``StoreError/nameTaken(holder:)``; ``StoreError/notFound(_:)`` for a sandbox that is not there.
  package func insert(_ container: ContainerRecord) throws(StoreError) {
    let record = try RecordCoding.encode(container)
    let key = container.metadata.key(in: container.sandboxID)
    try write { (database) throws(StoreError) in
      try Self.requireFree(key, in: "containers", database)
      do throws(StoreError) {
        try database.run(
          "INSERT INTO containers (id, name, sandbox, record) VALUES (?, ?, ?, ?)",
          [.text(container.id.value), .text(key), .text(container.sandboxID.value), .blob(record)])
      } catch {
        guard case .database(Database.foreignKeyMissing, _) = error else { throw error }
        throw .notFound(container.sandboxID)
      }
    }
  }

  /// - Throws: ``StoreError/notFound(_:)``.
  package func update(_ container: ContainerRecord) throws(StoreError) {
    let record = try RecordCoding.encode(container)
    try write { (database) throws(StoreError) in
      try database.run(
        "UPDATE containers SET record = ? WHERE id = ?", [.blob(record), .text(container.id.value)])
      guard database.changes == 1 else { throw .notFound(container.id) }
    }
  }

  /// Idempotent.
  package func remove(container: Identifier) throws(StoreError) {
    try write { (database) throws(StoreError) in
      try database.run("DELETE FROM containers WHERE id = ?", [.text(container.value)])
    }
  }

  /// Everything, oldest first. A row that does not read back is told in `damaged` and left where it is, with its name
  /// and addresses still taken: something of it may be alive. Who has ended that removes the row.
  ///
  /// - Throws: ``StoreError/laterFormat(_:)`` for a row of a later version.
  package func load() throws(StoreError) -> StoredRecords {
    let (sandboxes, containers) = try database.withLock { (database) throws(StoreError) in
      (try Self.rows(of: "sandboxes", database), try Self.rows(of: "containers", database))
    }
    var records = StoredRecords(findings: found)
    records.sandboxes = try decode(sandboxes, .sandbox, &records.damaged) { $0.id }
    records.containers = try decode(containers, .container, &records.damaged) { $0.id }
    return records
  }

  private func decode<Record: Codable>(
    _ rows: [RecordCoding.Row], _ kind: DamagedRow.Kind, _ damaged: inout [DamagedRow], id: (Record) -> Identifier
  ) throws(StoreError) -> [Record] {
    var records: [Record] = []
    for row in rows {
      switch RecordCoding.decode(Record.self, row, id: id) {
      case .record(let record): records.append(record)
      case .later(let version): throw Self.laterRow(kind, row.id, version, path)
      case .damaged(let reason):
        damaged.append(DamagedRow(kind: kind, id: row.id, reason: "the record of \(kind.rawValue) \(row.id) \(reason)"))
      }
    }
    return records
  }

  /// Removes a row that does not read back, with what hangs on it. Idempotent.
  package func remove(_ row: DamagedRow) throws(StoreError) {
    try write { (database) throws(StoreError) in
      try database.run("DELETE FROM \(row.kind.table) WHERE id = ?", [.text(row.id)])
    }
  }

  /// Why the disk has refused the last change, in prose; nil when it has taken it.
  package var refusal: String? { lastRefusal.withLock { $0 } }

  /// Writes something that changes nothing, to see whether the disk takes it.
  package func probe() throws(StoreError) {
    try write { (database) throws(StoreError) in
      try database.run("PRAGMA user_version = \(Self.schemaVersion)")
    }
  }

  private func write(_ body: (Database) throws(StoreError) -> Void) throws(StoreError) {
    do throws(StoreError) {
      try database.withLock { (database) throws(StoreError) in
        let database = database
        try database.transaction { () throws(StoreError) in try body(database) }
      }
      lastRefusal.withLock { $0 = nil }
    } catch {
      guard error.isRefusalOfDisk, case .database(let code, let message) = error else { throw error }
      let named = StoreError.database(code: code, message: "\(path): \(message)")
      lastRefusal.withLock { $0 = named.description }
      throw named
    }
  }

  private static func rows(of table: String, _ database: Database) throws(StoreError) -> [RecordCoding.Row] {
    var rows: [RecordCoding.Row] = []
    try database.run("SELECT id, record FROM \(table) ORDER BY rowid") { statement in
      rows.append(RecordCoding.Row(id: Database.text(statement, 0) ?? "", record: Database.blob(statement, 1)))
    }
    return rows
  }

  private static func requireFree(_ name: String, in table: String, _ database: Database) throws(StoreError) {
    var holder: String?
    try database.run("SELECT id FROM \(table) WHERE name = ?", [.text(name)]) { holder = Database.text($0, 0) }
    guard let holder else { return }
    guard let id = Identifier(holder) else { throw .damaged("row \"\(holder)\" of \(table) has no valid id") }
    throw .nameTaken(holder: id)
  }

  static func lease(_ sandbox: SandboxRecord, _ database: Database) throws(StoreError) {
    for address in sandbox.lease?.addresses ?? [] {
      do {
        try database.run(
          "INSERT INTO leases (address, sandbox) VALUES (?, ?)", [.text(address), .text(sandbox.id.value)])
      } catch {
        guard case .database(Database.primaryKeyTaken, _) = error else { throw error }
        throw .addressTaken(address: address)
      }
    }
  }

  private static func matchLease(_ sandbox: SandboxRecord, _ database: Database) throws(StoreError) {
    var held: [String] = []
    let id = Database.Value.text(sandbox.id.value)
    try database.run("SELECT address FROM leases WHERE sandbox = ?", [id]) { statement in
      if let address = Database.text(statement, 0) { held.append(address) }
    }
    guard Set(held) != Set(sandbox.lease?.addresses ?? []) else { return }
    try database.run("DELETE FROM leases WHERE sandbox = ?", [id])
    try lease(sandbox, database)
  }
}
