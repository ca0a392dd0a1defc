internal import CSQLite
package import RuntimeModel

/// Why a change was not written or the records were not read.
package enum StoreError: Error, Sendable, Hashable, CustomStringConvertible {
  /// A live sandbox or container has this name; who.
  case nameTaken(holder: Identifier)
  /// A live sandbox has this address.
  case addressTaken(address: String)
  /// No row with this identity to change.
  case notFound(Identifier)
  /// A record that does not read back: which, and why.
  case damaged(String)
  /// The database, or a row of it, was written by a later version. Nothing was changed.
  case laterFormat(LaterFormat)
  /// SQLite's extended result code (sqlite3_extended_errcode) and words, naming the step.
  case database(code: Int32, message: String)

  /// The disk took nothing: it is full, read-only or broken. The records are as they were, and a later try may succeed.
  package var isRefusalOfDisk: Bool {
    guard case .database(let code, _) = self else { return false }
    return [SQLITE_FULL, SQLITE_READONLY, SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_PERM].contains(code & 0xff)
  }

  package var description: String {
    switch self {
    case .nameTaken(let holder): "the name is taken by \(holder)"
    case .addressTaken(let address): "address \(address) is leased to another sandbox"
    case .notFound(let id): "no record of \(id)"
    case .damaged(let text): text
    case .laterFormat(let format): format.description
    case .database(let code, let message): "record database: \(message) (SQLite code \(code))"
    }
  }
}
