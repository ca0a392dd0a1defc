import Logging
import Synchronization

/// What was logged at `warning` and above.
final class LogRecord: Sendable {
  private let lines = Mutex<[String]>([])

  var texts: [String] { lines.withLock { $0 } }

  var logger: Logger { Logger(label: "test") { _ in Handler(record: self) } }

  private struct Handler: LogHandler {
    let record: LogRecord
    var logLevel = Logger.Level.warning
    var metadata = Logger.Metadata()

    init(record: LogRecord) { self.record = record }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { record.lines.withLock { $0.append("\(event.message)") } }
  }
}
