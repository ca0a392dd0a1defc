/// A table as kubectl prints one: left-aligned columns, three spaces between them, nothing after the last.
struct Table: Sendable {
  struct Cell: Sendable, ExpressibleByStringLiteral {
    var text: String
    var colour: Colour?

    init(_ text: String, _ colour: Colour? = nil) {
      self.text = text
      self.colour = colour
    }

    init(stringLiteral value: String) { self.init(value) }
  }

  var header: [String]
  var rows: [[Cell]] = []

  init(_ header: String...) { self.header = header }

  mutating func add(_ cells: Cell...) { rows.append(cells) }

  /// The lines, header first. An empty cell shows as `-`, so that columns can be counted by a script.
  func lines(paint: (String, Colour) -> String = { text, _ in text }) -> [String] {
    let shown = rows.map { row in row.map { $0.text.isEmpty ? Cell("-", $0.colour) : $0 } }
    let widths = header.indices.map { column in
      max(header[column].count, shown.map { column < $0.count ? $0[column].text.count : 0 }.max() ?? 0)
    }
    let head = header.map { Cell($0) }
    return ([head] + shown).map { row in
      row.enumerated().map { column, cell in
        let text = cell.colour.map { paint(cell.text, $0) } ?? cell.text
        let isLast = column == row.count - 1
        return isLast ? text : text + String(repeating: " ", count: widths[column] - cell.text.count + 3)
      }.joined()
    }
  }
}

/// Numbers and times as people read them.
enum Humane {
  /// An age as kubectl writes it: two units up to ten of the larger one, then one.
  static func age(nanoseconds: Int64) -> String {
    let seconds = max(0, nanoseconds / 1_000_000_000)
    let units: [(String, Int64)] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)]
    for (position, (unit, length)) in units.enumerated() where seconds >= length {
      let whole = seconds / length
      guard whole < 10, position + 1 < units.count else { return "\(whole)\(unit)" }
      let (smaller, smallerLength) = units[position + 1]
      let rest = seconds % length / smallerLength
      return rest == 0 ? "\(whole)\(unit)" : "\(whole)\(unit)\(rest)\(smaller)"
    }
    return "0s"
  }

  /// Bytes in decimal units with three digits: `54.2 MB`.
  static func size(bytes: UInt64) -> String {
    guard bytes >= 1000 else { return "\(bytes) B" }
    var value = Double(bytes)
    var unit = 0
    let units = ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5, unit < units.count - 1 {
      value /= 1000
      unit += 1
    }
    return "\(fixed(value, digits: value < 9.995 ? 2 : value < 99.95 ? 1 : 0)) \(units[unit])"
  }

  /// `12.3 ms`, `1.24 s`, `2 m 5 s`.
  static func duration(_ duration: Duration) -> String {
    let seconds = Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    if seconds < 1 { return "\(fixed(seconds * 1000, digits: seconds < 0.01 ? 1 : 0)) ms" }
    if seconds < 60 { return "\(fixed(seconds, digits: seconds < 10 ? 2 : 1)) s" }
    return "\(Int(seconds) / 60) m \(Int(seconds) % 60) s"
  }

  /// The first twelve hexadecimal characters of an id, with or without its algorithm.
  static func shortID(_ id: String) -> String {
    let hex = id.split(separator: ":", maxSplits: 1).last.map(String.init) ?? id
    return String(hex.prefix(12))
  }

  private static func fixed(_ value: Double, digits: Int) -> String {
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((value * Double(scale)).rounded())
    guard digits > 0 else { return "\(scaled)" }
    let fraction = String(scaled % scale)
    return "\(scaled / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
  }
}
