internal import CSQLite
internal import Glibc

extension RecordStore {
  /// Opens, checks and prepares.
  static func open(_ path: String) throws(StoreError) -> Database {
    let database = try Database(path: path)
    try database.run("PRAGMA journal_mode = WAL")
    try database.run("PRAGMA synchronous = NORMAL")
    try database.run("PRAGMA foreign_keys = ON")
    try database.run("PRAGMA trusted_schema = OFF")
    var problem: String?
    // Every page and index is looked at; the file is small, and a start is rare.
    try database.run("PRAGMA quick_check(1)") { statement in
      if let text = Database.text(statement, 0), text != "ok" { problem = text }
    }
    if let problem { throw .database(code: SQLITE_CORRUPT, message: problem) }
    try prepareSchema(database)
    chmod(path, 0o600)
    database.keepLog()
    // The log begins anew when it has 1000 pages of 4 KiB, and goes into the file then.
    reserve(5 << 20, of: path + "-wal")
    reserve(2 << 20, of: path)
    return database
  }

  /// Keeps room on the disk for a file of ours to grow into: what ends and removes pods is written here, too, and a full
  /// disk is emptied by nothing else. Where that is not to be had, the daemon works as long as the disk has space.
  private static func reserve(_ size: off_t, of path: String) {
    let file = Glibc.open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW)
    guard file >= 0 else { return }
    defer { close(file) }
    // The file's length is SQLite's matter: FALLOC_FL_KEEP_SIZE of fallocate(2), whose name Swift does not import.
    let keepSize: Int32 = 1
    _ = fallocate(file, keepSize, 0, size)
  }

  private static func prepareSchema(_ database: Database) throws(StoreError) {
    try database.transaction { () throws(StoreError) in
      var version: Int64 = 0
      try database.run("PRAGMA user_version") { version = Database.integer($0, 0) }
      guard version == 0 else { return }
      try database.run(
        "CREATE TABLE sandboxes (id TEXT PRIMARY KEY NOT NULL, name TEXT UNIQUE NOT NULL, record BLOB NOT NULL)")
      try database.run(
        """
        CREATE TABLE leases (address TEXT PRIMARY KEY NOT NULL, \
        sandbox TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE) WITHOUT ROWID
        """)
      try database.run("CREATE INDEX leases_by_sandbox ON leases (sandbox)")
      try database.run(
        """
        CREATE TABLE containers (id TEXT PRIMARY KEY NOT NULL, name TEXT UNIQUE NOT NULL, \
        sandbox TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE, record BLOB NOT NULL)
        """)
      try database.run("CREATE INDEX containers_by_sandbox ON containers (sandbox)")
      try database.run("PRAGMA user_version = \(schemaVersion)")
    }
  }

  static func isDamage(_ code: Int32) -> Bool {
    [SQLITE_CORRUPT, SQLITE_NOTADB].contains(code & 0xff)
  }

  /// Moves the file and its journal to a name nobody has.
  ///
  /// - Returns: the file's new name.
  static func setAside(_ path: String) throws(StoreError) -> String {
    let aside = "\(path).damaged-\(time(nil))-\(getpid())"
    guard rename(path, aside) == 0 else {
      throw .database(code: SQLITE_CORRUPT, message: "\(path) is damaged and rename to \(aside) failed: errno \(errno)")
    }
    // Its log belongs to it: beside a new file it would be taken for that one's.
    for suffix in ["-wal", "-shm"] { rename(path + suffix, aside + suffix) }
    return aside
  }
}
