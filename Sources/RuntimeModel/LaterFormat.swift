internal import FoundationEssentials

/// Something of ours has a form that only a later version of Swiftlet knows: a file, a row, a shim's protocol.
///
/// That is no damage, and nothing of it is guessed at: what a daemon cannot read it would end or remove. So the daemon does
/// not start, before it has changed anything, and the pods run on under their shims.
package struct LaterFormat: Error, Sendable, Hashable, CustomStringConvertible {
  /// What has that form, in prose with its path.
  package var subject: String
  package var found: Int64
  /// The latest that this version knows.
  package var known: Int64

  package init(subject: String, found: Int64, known: Int64) {
    self.subject = subject
    self.found = found
    self.known = known
  }

  package var description: String {
    "\(subject) has format \(found), and this version knows none later than \(known); nothing was changed, and pods run on: "
      + "start the later version again, or let it remove all pods, end it, and clear its root and state directories"
  }
}

/// The `version` of a JSON document of ours, however the rest of it looks.
///
/// - Returns: nil when it has none, or is no JSON.
package func documentVersion(_ bytes: [UInt8]) -> Int64? {
  struct Head: Decodable { var version: Int64? }
  return (try? JSONDecoder().decode(Head.self, from: Data(bytes)))?.version
}
