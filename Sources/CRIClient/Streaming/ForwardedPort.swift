/// One port of `port-forward`: `8080:80`, `80` for the same on both sides, `:80` or `0:80` for one that the kernel chooses.
struct ForwardedPort: Sendable, Equatable {
  /// 0: any.
  var local: UInt16
  var remote: UInt16

  /// - Throws: ``ClientError`` with the status `usage`.
  init(_ text: String) throws(ClientError) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    let numbers = parts.map { UInt16($0) }
    switch (parts.count, numbers.first ?? nil, numbers.last ?? nil) {
    case (1, let port?, _) where port > 0: (local, remote) = (port, port)
    case (2, let local?, let remote?) where remote > 0: (self.local, self.remote) = (local, remote)
    case (2, nil, let remote?) where parts[0].isEmpty && remote > 0: (local, self.remote) = (0, remote)
    default:
      throw ClientError(.usage, "cannot forward \(text)", why: "a port is LOCAL:REMOTE, REMOTE or :REMOTE, up to 65535")
    }
  }
}
