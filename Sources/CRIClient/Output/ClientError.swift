/// What a command's exit status means. `exec` passes the command's own status through instead.
enum ExitStatus: Int32, Sendable {
  case failed = 1
  case usage = 2
  case notFound = 3
  case timeout = 4
  case unreachable = 5
  case interrupted = 130
}

/// A failure told to a person: what could not be done, why, and what to try.
struct ClientError: Error, Sendable, Equatable, CustomStringConvertible {
  var status: ExitStatus
  /// What failed, naming the object: `cannot start default/web/app`.
  var what: String
  /// The reason, as near to its source as possible.
  var why: String?
  /// Further lines of evidence, such as the candidates of an ambiguous name.
  var details: [String] = []
  /// What to try next, one suggestion.
  var remedy: String?
  /// The runtime has no such call: it is another one than ours, or an older one.
  var isMissingCall = false

  init(
    _ status: ExitStatus, _ what: String, why: String? = nil, details: [String] = [], remedy: String? = nil
  ) {
    self.status = status
    self.what = what
    self.why = why
    self.details = details
    self.remedy = remedy
  }

  var description: String {
    var text = "error: \(what)"
    if let why, !why.isEmpty { text += ": \(why)" }
    for detail in details { text += "\n  \(detail)" }
    if let remedy { text += "\n  try: \(remedy)" }
    return text
  }
}
