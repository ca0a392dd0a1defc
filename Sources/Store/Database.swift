internal import CSQLite

/// One connection and its compiled statements; used by one thread at a time.
///
/// Unchecked: the guard is ``RecordStore``'s Mutex, inside of which alone it is used.
final class Database: @unchecked Sendable {
  private let connection: OpaquePointer
  private var statements: [String: OpaquePointer] = [:]

  /// SQLITE_CONSTRAINT_FOREIGNKEY and SQLITE_CONSTRAINT_PRIMARYKEY, macros that Swift does not import.
  static let foreignKeyMissing: Int32 = SQLITE_CONSTRAINT | 3 << 8
  static let primaryKeyTaken: Int32 = SQLITE_CONSTRAINT | 6 << 8

  /// A value to bind, or of a column.
  enum Value {
    case text(String)
    case blob([UInt8])
    case integer(Int64)
    case null
  }

  /// Opens or makes the file.
  /// - Parameter readOnly: nothing is made, and the file and its log stay as they are.
  init(path: String, readOnly: Bool = false) throws(StoreError) {
    var handle: OpaquePointer?
    let access = readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
    let flags = access | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
    let code = sqlite3_open_v2(path, &handle, flags, nil)
    guard code == SQLITE_OK, let handle else {
      let text = handle.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(code))
      sqlite3_close_v2(handle)
      throw .database(code: code, message: "open \(path): \(text)")
    }
    connection = handle
    sqlite3_busy_timeout(connection, 5000)
  }

  deinit {
    for statement in statements.values { sqlite3_finalize(statement) }
    sqlite3_close_v2(connection)
  }

  /// Runs one statement for each row of its result.
  func run(_ sql: String, _ values: [Value] = [], row: (OpaquePointer) -> Void = { _ in }) throws(StoreError) {
    let statement = try prepared(sql)
    defer {
      sqlite3_reset(statement)
      sqlite3_clear_bindings(statement)
    }
    for (index, value) in values.enumerated() { try bind(value, statement, Int32(index + 1), sql) }
    while true {
      switch sqlite3_step(statement) {
      case SQLITE_ROW: row(statement)
      case SQLITE_DONE: return
      default: throw failure(sql)
      }
    }
  }

  /// Leaves the write-ahead log and its index where they are when the connection closes: a full disk has no room for new
  /// ones.
  func keepLog() {
    var isOn: Int32 = 1
    sqlite3_file_control(connection, "main", SQLITE_FCNTL_PERSIST_WAL, &isOn)
  }

  /// Rows that the last statement changed.
  var changes: Int { Int(sqlite3_changes(connection)) }

  /// Everything in `body` or nothing.
  func transaction<T>(_ body: () throws(StoreError) -> T) throws(StoreError) -> T {
    try run("BEGIN IMMEDIATE")
    do throws(StoreError) {
      let result = try body()
      try run("COMMIT")
      return result
    } catch {
      // Some failures (disk full) have rolled back by themselves; then this one has nothing to do.
      if sqlite3_get_autocommit(connection) == 0 { try? run("ROLLBACK") }
      throw error
    }
  }

  static func text(_ statement: OpaquePointer, _ column: Int32) -> String? {
    guard let bytes = sqlite3_column_text(statement, column) else { return nil }
    return String(cString: bytes)
  }

  static func blob(_ statement: OpaquePointer, _ column: Int32) -> [UInt8] {
    guard let bytes = sqlite3_column_blob(statement, column) else { return [] }
    return Array(UnsafeRawBufferPointer(start: bytes, count: Int(sqlite3_column_bytes(statement, column))))
  }

  static func integer(_ statement: OpaquePointer, _ column: Int32) -> Int64 {
    sqlite3_column_int64(statement, column)
  }

  private func prepared(_ sql: String) throws(StoreError) -> OpaquePointer {
    if let statement = statements[sql] { return statement }
    var statement: OpaquePointer?
    let flags = UInt32(SQLITE_PREPARE_PERSISTENT)
    guard sqlite3_prepare_v3(connection, sql, -1, flags, &statement, nil) == SQLITE_OK, let statement else {
      throw failure(sql)
    }
    statements[sql] = statement
    return statement
  }

  private func bind(
    _ value: Value, _ statement: OpaquePointer, _ index: Int32, _ sql: String
  ) throws(StoreError) {
    // SQLITE_TRANSIENT, whose macro Swift does not import: SQLite copies before the call returns.
    let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
    let code =
      switch value {
      case .text(let text): sqlite3_bind_text(statement, index, text, Int32(text.utf8.count), copied)
      case .blob(let bytes): sqlite3_bind_blob(statement, index, bytes, Int32(bytes.count), copied)
      case .integer(let number): sqlite3_bind_int64(statement, index, number)
      case .null: sqlite3_bind_null(statement, index)
      }
    if code != SQLITE_OK { throw failure(sql) }
  }

  private func failure(_ sql: String) -> StoreError {
    let verb = sql.split(separator: " ").prefix(3).joined(separator: " ")
    return .database(
      code: sqlite3_extended_errcode(connection), message: "\(verb): \(String(cString: sqlite3_errmsg(connection)))")
  }
}
