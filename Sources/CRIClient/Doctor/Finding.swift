/// What one check of `doctor` found.
struct Finding: Sendable, Equatable {
  enum Verdict: String, Sendable {
    case ok
    case warn
    case fail
  }

  var check: String
  var verdict: Verdict
  var reason: String
  /// What to do about it; nil when nothing needs doing.
  var remedy: String?

  init(_ check: String, _ verdict: Verdict, _ reason: String, remedy: String? = nil) {
    self.check = check
    self.verdict = verdict
    self.reason = reason
    self.remedy = remedy
  }

  var value: Value {
    .record([
      "check": .string(check), "verdict": .string(verdict.rawValue), "reason": .string(reason),
      "remedy": remedy.map(Value.string) ?? .null,
    ])
  }
}
