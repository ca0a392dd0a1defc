import NIOCore
import SPDY
import Synchronization

/// The streams that a client opens for a command: header `streamType`.
enum SPDYRole: String, Sendable, Hashable { case error, stdin, stdout, stderr, resize }

/// Gathers a command's streams as the client opens them.
final class SPDYRoles: Sendable {
  /// All that must be there.
  private let wanted: Set<SPDYRole>
  private let opened = Mutex<[SPDYRole: SPDYStream]>([:])
  private let isComplete = Once()

  init(_ selection: StreamSelection, dialect: SPDYDialect) {
    var wanted: Set<SPDYRole> = [.error]
    if selection.stdin { wanted.insert(.stdin) }
    if selection.stdout { wanted.insert(.stdout) }
    if selection.stderr { wanted.insert(.stderr) }
    if selection.tty && dialect.hasResize { wanted.insert(.resize) }
    self.wanted = wanted
  }

  /// - Returns: whether the stream is one that is wanted, and the first of its role.
  func add(_ stream: SPDYStream, _ headers: SPDYHeaders) -> Bool {
    guard let role = headers["streamtype"].flatMap(SPDYRole.init), wanted.contains(role) else { return false }
    let (isFirst, count) = opened.withLock { opened in
      guard opened[role] == nil else { return (false, 0) }
      opened[role] = stream
      return (true, opened.count)
    }
    // Nobody takes what comes on the others.
    if role != .stdin && role != .resize { stream.inbox.close() }
    if isFirst, count == wanted.count { isComplete.happen() }
    return isFirst
  }

  /// - Throws: ``TimePassed``; CancellationError.
  func all(within limit: Duration) async throws -> [SPDYRole: SPDYStream] {
    try await Streaming.within(limit, "the client has not opened its streams within \(limit)") { [isComplete] in
      await isComplete.wait()
    }
    try Task.checkCancellation()
    return opened.withLock { $0 }
  }
}

/// What a SPDY sub-protocol of remotecommand has (CRI.md 5.3).
struct SPDYDialect: Sendable, Hashable {
  var hasStatus: Bool
  var hasResize: Bool

  init(_ name: String) {
    hasStatus = name.hasPrefix("v4.")
    hasResize = hasStatus || name.hasPrefix("v3.")
  }
}

/// A command's client over SPDY.
struct SPDYCommandClient: CommandClient {
  let roles: [SPDYRole: SPDYStream]
  let dialect: SPDYDialect

  func write(_ bytes: ByteBuffer, to stream: OutputStream) async throws {
    guard let stream = roles[stream == .stdout ? .stdout : .stderr] else { throw StreamIsReset() }
    try await stream.send(bytes)
  }

  func end(_ stream: OutputStream) async throws {
    try await roles[stream == .stdout ? .stdout : .stderr]?.finish()
  }

  func finish(_ outcome: CommandOutcome) async throws {
    for role in [SPDYRole.stdout, .stderr] { try await roles[role]?.finish() }
    let text = dialect.hasStatus ? outcome.status : outcome.text
    if let error = roles[.error] {
      if !text.isEmpty { try await error.send(ByteBuffer(string: text)) }
      try await error.finish()
    }
    for role in [SPDYRole.stdin, .resize] { try await roles[role]?.finish() }
  }
}
