/// A process's environment as bytes, in order; a later key replaces an earlier one in its place.
struct Environment: Sendable {
  /// More than execve(2) takes; an image's Env may be a million lines.
  static let most = 200_000

  private var entries: [(key: [UInt8], value: [UInt8])] = []
  private var places: [[UInt8]: Int] = [:]

  /// What every container starts with when neither image nor request sets it.
  static let standardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  /// The terminal that a client of kubelet's is taken for.
  static let standardTerminal = "xterm"

  mutating func set(_ key: some Sequence<UInt8>, _ value: some Sequence<UInt8>) {
    let key = Array(key)
    let value = Array(value)
    if let place = places[key] {
      entries[place].value = value
    } else {
      places[key] = entries.count
      entries.append((key, value))
    }
  }

  mutating func set(_ key: String, _ value: String) { set(key.utf8, value.utf8) }

  /// Adds a line of an image's Env; one without `=` sets the empty value.
  mutating func add(line: String) {
    // By bytes: to Swift, an equals sign and a combining mark behind it are one character.
    let parts = line.utf8.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
    set(parts[0], parts.count == 2 ? Array(parts[1]) : [])
  }

  func contains(_ key: String) -> Bool { places[Array(key.utf8)] != nil }

  /// `KEY=value`, as execve(2) takes them.
  var lines: [[UInt8]] { entries.map { $0.key + [UInt8(ascii: "=")] + $0.value } }
}
