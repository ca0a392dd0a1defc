import RuntimeModel

/// The lines of an image's /etc/passwd and /etc/group, read as data: no NSS, no library of the image (ATTACKS V6).
struct UserDatabase: Sendable {
  struct Account: Sendable {
    var name: Substring
    var uid: UInt32
    var gid: UInt32
    var home: Substring
  }

  struct Group: Sendable {
    var name: Substring
    var gid: UInt32
    var members: [Substring]
  }

  private let accounts: [Account]
  private let groups: [Group]

  /// - Parameters:
  ///   - passwd: the bytes of passwd(5); nil when the image has none.
  ///   - group: the bytes of group(5); nil when the image has none.
  init(passwd: [UInt8]?, group: [UInt8]?) {
    accounts = Self.lines(passwd).compactMap { fields in
      guard fields.count >= 4, let uid = UInt32(fields[2]), let gid = UInt32(fields[3]) else { return nil }
      return Account(name: fields[0], uid: uid, gid: gid, home: fields.count > 5 ? fields[5] : "")
    }
    groups = Self.lines(group).compactMap { fields in
      guard fields.count >= 3, let gid = UInt32(fields[2]) else { return nil }
      return Group(name: fields[0], gid: gid, members: fields.count > 3 ? fields[3].split(separator: ",") : [])
    }
  }

  func account(named name: some StringProtocol) -> Account? { accounts.first { $0.name == name } }
  func account(uid: UInt32) -> Account? { accounts.first { $0.uid == uid } }
  func group(named name: some StringProtocol) -> Group? { groups.first { $0.name == name } }
  func groups(of user: some StringProtocol) -> [UInt32] {
    groups.filter { $0.members.contains { $0 == user } }.map(\.gid)
  }

  /// The fields of each line, by bytes: to Swift, CR and LF are one character. Fields at a line's end may be missing.
  private static func lines(_ bytes: [UInt8]?) -> [[Substring]] {
    guard let bytes else { return [] }
    return bytes.split(separator: UInt8(ascii: "\n")).filter { $0.first != UInt8(ascii: "#") }.map { line in
      let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      return line.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false).map {
        Substring(decoding: $0, as: UTF8.self)
      }
    }
  }
}
