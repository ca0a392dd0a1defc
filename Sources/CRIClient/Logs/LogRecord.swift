/// One record of a container's log file: `<timestamp> <stream> <tag> <content>`.
struct LogRecord: Sendable, Equatable {
  enum Stream: String, Sendable {
    case stdout
    case stderr

    var descriptor: Int32 { self == .stdout ? 1 : 2 }
  }

  var timestamp: String
  var stream: Stream
  /// More of the same line follows in another record of the same stream.
  var isPartial: Bool
  var content: [UInt8]

  /// - Parameter line: a line of the file without its newline.
  /// - Returns: nil when it is no record.
  init?(_ line: some Collection<UInt8>) {
    let parts = line.split(separator: UInt8(ascii: " "), maxSplits: 3, omittingEmptySubsequences: false)
    // kubelet cannot parse a record without the space before its content; we take it for an empty one.
    guard parts.count >= 3, !parts[0].isEmpty,
      let stream = String(validating: parts[1], as: UTF8.self).flatMap(Stream.init(rawValue:)),
      let tag = parts[2].split(separator: UInt8(ascii: ":")).first.flatMap({ String(validating: $0, as: UTF8.self) }),
      tag == "F" || tag == "P",
      let timestamp = String(validating: parts[0], as: UTF8.self)
    else { return nil }
    self.timestamp = timestamp
    self.stream = stream
    isPartial = tag == "P"
    content = parts.count == 4 ? Array(parts[3]) : []
  }
}

/// Joins the records of a log file to lines, whatever the chunks in which its bytes come.
struct LogAssembler: Sendable {
  /// A whole line of a container's output.
  struct Line: Sendable, Equatable {
    var timestamp: String
    var stream: LogRecord.Stream
    var content: [UInt8]
    /// The container ended, or was cut off, within the line.
    var hasNewline: Bool
  }

  /// A line longer than this is passed on in pieces, so that memory stays bounded.
  static let longestLine = 1 << 20

  private var rest: [UInt8] = []
  private var pending: [LogRecord.Stream: Line] = [:]

  /// Takes the next bytes of the file; returns the lines that they complete.
  mutating func take(_ bytes: some Collection<UInt8>) -> [Line] {
    rest.append(contentsOf: bytes)
    var lines: [Line] = []
    var start = rest.startIndex
    while let newline = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
      if let line = add(rest[start..<newline]) { lines.append(line) }
      start = rest.index(after: newline)
    }
    rest.removeSubrange(..<start)
    return lines
  }

  /// What is left when nothing more will come: lines without their end.
  mutating func finish() -> [Line] {
    let lines = pending.values.sorted { $0.timestamp < $1.timestamp }
    pending = [:]
    rest = []
    return lines
  }

  private mutating func add(_ bytes: ArraySlice<UInt8>) -> Line? {
    guard let record = LogRecord(bytes) else {
      // Not a record: shown as it is, since a person looks for what went wrong.
      return bytes.isEmpty ? nil : Line(timestamp: "", stream: .stdout, content: Array(bytes), hasNewline: true)
    }
    var line =
      pending.removeValue(forKey: record.stream)
      ?? Line(timestamp: record.timestamp, stream: record.stream, content: [], hasNewline: true)
    line.content += record.content
    guard record.isPartial else {
      line.hasNewline = true
      return line
    }
    line.hasNewline = false
    guard line.content.count < Self.longestLine else { return line }
    pending[record.stream] = line
    return nil
  }
}
