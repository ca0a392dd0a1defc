import CRIProtocol
import RuntimeModel

/// Who a container's process is: numbers only, resolved from the request, the image's User and the image's own files.
struct ProcessUser: Sendable, Hashable {
  var uid: UInt32
  var gid: UInt32
  /// Sorted, without duplicates, with `gid`.
  var groups: [UInt32]
  /// `/` when the image's passwd does not know the uid.
  var home: String

  /// The largest uid or gid, as the peers have it.
  private static let maximum: UInt32 = 0x7fff_ffff

  /// Resolves by CRI.md 2.6: run_as_username, else run_as_user, else the image's User, else 0.
  ///
  /// All-digit text is a number and is never looked up as a name (ATTACKS L20).
  /// - Throws: `invalidArgument` naming the field; `notFound` never: a name that the image does not know is
  ///   `invalidArgument` too, since the request cannot become true.
  init(
    _ context: Runtime_V1_LinuxContainerSecurityContext, imageUser: String, database: UserDatabase
  ) throws(RuntimeError) {
    if context.hasRunAsGroup && !context.hasRunAsUser && context.runAsUsername.isEmpty {
      throw RuntimeError(
        .invalidArgument, "linux.security_context.run_as_group is set without run_as_user or run_as_username")
    }
    let requestedUser = try Self.requestedUser(context, imageUser: imageUser)
    let parts = requestedUser.text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let user = try Self.user(parts[0], field: requestedUser.field, database: database)
    uid = user.uid
    home = user.account.map { $0.home.isEmpty ? "/" : String($0.home) } ?? "/"
    if context.hasRunAsGroup {
      gid = try Self.number(context.runAsGroup.value, field: "linux.security_context.run_as_group")
    } else if parts.count == 2 {
      gid = try Self.group(parts[1], field: requestedUser.field, database: database)
    } else {
      gid = try Self.checked(user.account?.gid ?? 0, field: requestedUser.field, of: "passwd")
    }
    var groups: Set<UInt32> = [gid]
    for number in context.supplementalGroups {
      groups.insert(try Self.number(number, field: "linux.security_context.supplemental_groups"))
    }
    switch context.supplementalGroupsPolicy {
    case .merge:
      for number in user.account.map({ database.groups(of: $0.name) }) ?? [] {
        groups.insert(try Self.checked(number, field: requestedUser.field, of: "group"))
      }
    case .strict: break
    case .UNRECOGNIZED(let value):
      throw RuntimeError(
        .invalidArgument, "linux.security_context.supplemental_groups_policy: \(value) is not a policy")
    }
    guard groups.count <= Self.mostGroups else {
      throw RuntimeError(
        .invalidArgument,
        "linux.security_context.supplemental_groups: \(groups.count) groups are more than the kernel's \(Self.mostGroups)"
      )
    }
    self.groups = groups.sorted()
  }

  /// NGROUPS_MAX of <linux/limits.h>.
  private static let mostGroups = 65_536

  /// Adds groups that a device brings.
  mutating func add(groups more: [UInt32]) {
    if !more.isEmpty { groups = Set(groups + more).sorted() }
  }

  private static func requestedUser(
    _ context: Runtime_V1_LinuxContainerSecurityContext, imageUser: String
  ) throws(RuntimeError) -> (text: String, field: String) {
    if !context.runAsUsername.isEmpty {
      let field = "linux.security_context.run_as_username"
      guard !context.runAsUsername.contains(":") else {
        throw RuntimeError(.invalidArgument, "\(field): \"\(context.runAsUsername)\" has a colon")
      }
      return (context.runAsUsername, field)
    }
    if context.hasRunAsUser {
      let field = "linux.security_context.run_as_user"
      return (String(try number(context.runAsUser.value, field: field)), field)
    }
    return imageUser.isEmpty ? ("0", "image User") : (imageUser, "image User")
  }

  private static func user(
    _ text: Substring, field: String, database: UserDatabase
  ) throws(RuntimeError) -> (uid: UInt32, account: UserDatabase.Account?) {
    if isNumber(text) {
      let uid = try number(text, field: field)
      return (uid, database.account(uid: uid))
    }
    guard let account = database.account(named: text), !text.isEmpty else {
      throw RuntimeError(.invalidArgument, "\(field): user \"\(text)\" is not in the image's /etc/passwd")
    }
    return (try checked(account.uid, field: field, of: "passwd"), account)
  }

  private static func group(
    _ text: Substring, field: String, database: UserDatabase
  ) throws(RuntimeError) -> UInt32 {
    if isNumber(text) { return try number(text, field: field) }
    guard let group = database.group(named: text), !text.isEmpty else {
      throw RuntimeError(.invalidArgument, "\(field): group \"\(text)\" is not in the image's /etc/group")
    }
    return try checked(group.gid, field: field, of: "group")
  }

  /// An id from the image's own files: 4294967295 is "leave it as it is" to setresuid(2), which would be root.
  private static func checked(_ id: UInt32, field: String, of file: String) throws(RuntimeError) -> UInt32 {
    guard id <= maximum else {
      throw RuntimeError(.invalidArgument, "\(field): \(id) in the image's /etc/\(file) is not in 0...\(maximum)")
    }
    return id
  }

  private static func isNumber(_ text: Substring) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }

  private static func number(_ text: Substring, field: String) throws(RuntimeError) -> UInt32 {
    guard let number = UInt32(text), number <= maximum else {
      throw RuntimeError(.invalidArgument, "\(field): \(text) is not in 0...\(maximum)")
    }
    return number
  }

  private static func number(_ value: Int64, field: String) throws(RuntimeError) -> UInt32 {
    guard value >= 0, value <= Int64(maximum) else {
      throw RuntimeError(.invalidArgument, "\(field): \(value) is not in 0...\(maximum)")
    }
    return UInt32(value)
  }
}
