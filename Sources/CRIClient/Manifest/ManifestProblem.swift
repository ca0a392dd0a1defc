/// Something in a manifest that a person should know, with its place.
struct ManifestProblem: Sendable, Equatable, CustomStringConvertible {
  enum Severity: Sendable, Equatable {
    case error
    case warning
    case note
  }

  var severity: Severity
  var file: String
  var line: Int
  var column: Int
  /// The path of the field, `spec.containers[0].image`; empty for the document.
  var path: String
  var message: String

  /// Without the severity: `web.yaml:7:5: spec.containers[0].image: is missing`.
  var description: String {
    let place = line > 0 ? "\(file):\(line):\(column)" : file
    return path.isEmpty ? "\(place): \(message)" : "\(place): \(path): \(message)"
  }
}

/// Collects what is found while one file is read, so that a person sees every mistake at once.
final class ManifestReport {
  let file: String
  /// Unknown and unsupported fields become warnings.
  let isLenient: Bool
  private(set) var problems: [ManifestProblem] = []
  /// A field was refused that leniency would let pass.
  var hasRefusedField = false

  init(file: String, isLenient: Bool) {
    self.file = file
    self.isLenient = isLenient
  }

  /// The errors in the order of the file.
  var errors: [ManifestProblem] {
    problems.filter { $0.severity == .error }.sorted { ($0.line, $0.column) < ($1.line, $1.column) }
  }

  func add(_ severity: ManifestProblem.Severity, line: Int, column: Int, path: String, _ message: String) {
    problems.append(
      ManifestProblem(
        severity: severity, file: file, line: line, column: column, path: path, message: message))
  }
}
