import FoundationEssentials

/// How a session ended, as the client's error stream has it.
enum CommandOutcome: Sendable {
  case exited(Int32)
  case failed(String)

  /// `metav1.Status` of sub-protocol v4 and later.
  var status: String {
    let status =
      switch self {
      case .exited(0): Status(status: "Success")
      case .exited(let code):
        Status(
          status: "Failure", message: "command terminated with non-zero exit code: exit status \(code)",
          reason: "NonZeroExitCode", details: .init(causes: [.init(reason: "ExitCode", message: "\(code)")]))
      case .failed(let text):
        Status(
          status: "Failure", message: "Internal error occurred: \(text)", reason: "InternalError",
          details: .init(causes: [.init(message: text)]), code: 500)
      }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return (try? encoder.encode(status)).map { String(decoding: $0, as: UTF8.self) } ?? #"{"status":"Failure"}"#
  }

  /// What earlier sub-protocols have instead; empty for success.
  var text: String {
    switch self {
    case .exited(0): ""
    case .exited(let code): "command terminated with non-zero exit code: exit status \(code)"
    case .failed(let text): text
    }
  }

  private struct Status: Encodable {
    struct Details: Encodable {
      var causes: [Cause]
    }
    struct Cause: Encodable {
      var reason: String?
      var message: String
    }
    var metadata: [String: String] = [:]
    var status: String
    var message: String?
    var reason: String?
    var details: Details?
    var code: Int?
  }
}
