/// Writes tar headers byte by byte, so that a test can say what no tar library would (ATTACKS.md H1).
struct TarBuilder {
  private(set) var bytes: [UInt8] = []

  /// One entry of a hostile or honest archive.
  struct Entry {
    var name: [UInt8]
    var type: Character = "0"
    var link: [UInt8] = []
    var mode: UInt32 = 0o644
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    var modified: UInt64 = 1_000_000_000
    var major: UInt32 = 0
    var minor: UInt32 = 0
    var data: [UInt8] = []
    /// Extended header records, in order (pax(5)).
    var records: [(String, [UInt8])] = []
    /// Written in the header instead of the data's own.
    var size: UInt64?

    static func file(_ name: String, _ text: String = "x", mode: UInt32 = 0o644) -> Entry {
      Entry(name: Array(name.utf8), mode: mode, data: Array(text.utf8))
    }
    static func directory(_ name: String, mode: UInt32 = 0o755) -> Entry {
      Entry(name: Array(name.utf8), type: "5", mode: mode)
    }
    static func symlink(_ name: String, _ target: String) -> Entry {
      Entry(name: Array(name.utf8), type: "2", link: Array(target.utf8), mode: 0o777)
    }
    static func hardLink(_ name: String, _ target: String, mode: UInt32 = 0o644) -> Entry {
      Entry(name: Array(name.utf8), type: "1", link: Array(target.utf8), mode: mode)
    }
    static func device(_ name: String, _ type: Character, _ major: UInt32, _ minor: UInt32) -> Entry {
      Entry(name: Array(name.utf8), type: type, major: major, minor: minor)
    }
    static func fifo(_ name: String) -> Entry { Entry(name: Array(name.utf8), type: "6") }

    func with(_ change: (inout Entry) -> Void) -> Entry {
      var copy = self
      change(&copy)
      return copy
    }
  }

  static func archive(_ entries: [Entry]) -> [UInt8] {
    var builder = TarBuilder()
    for entry in entries { builder.add(entry) }
    return builder.finished()
  }

  mutating func add(_ entry: Entry) {
    var records = entry.records
    if entry.name.count > 100 { records.append(("path", entry.name)) }
    if entry.link.count > 100 { records.append(("linkpath", entry.link)) }
    if !records.isEmpty {
      var body: [UInt8] = []
      for (key, value) in records { body += Self.record(key, value) }
      header(name: Array("PaxHeaders/x".utf8), type: "x", size: UInt64(body.count), entry: Entry(name: []))
      pad(body)
    }
    header(name: entry.name, type: entry.type, size: entry.size ?? UInt64(entry.data.count), entry: entry)
    pad(entry.data)
  }

  func finished() -> [UInt8] { bytes + [UInt8](repeating: 0, count: 1_024) }

  /// `length key=value\n`, where the length counts itself.
  static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
    let body = Array(" \(key)=".utf8) + value + [10]
    var length = body.count + 1
    while "\(length)".utf8.count + body.count != length { length = "\(length)".utf8.count + body.count }
    return Array("\(length)".utf8) + body
  }

  private mutating func pad(_ data: [UInt8]) {
    bytes += data
    bytes += [UInt8](repeating: 0, count: (512 - data.count % 512) % 512)
  }

  private mutating func header(name: [UInt8], type: Character, size: UInt64, entry: Entry) {
    var block = [UInt8](repeating: 0, count: 512)
    func put(_ value: [UInt8], at offset: Int, limit: Int) {
      for (index, byte) in value.prefix(limit).enumerated() { block[offset + index] = byte }
    }
    func octal(_ value: UInt64, at offset: Int, width: Int) {
      let digits = String(value, radix: 8)
      let text = String(repeating: "0", count: max(0, width - 1 - digits.count)) + digits
      put(Array(text.utf8), at: offset, limit: width - 1)
    }
    put(name, at: 0, limit: 100)
    octal(UInt64(entry.mode), at: 100, width: 8)
    octal(UInt64(entry.uid), at: 108, width: 8)
    octal(UInt64(entry.gid), at: 116, width: 8)
    octal(size, at: 124, width: 12)
    octal(entry.modified, at: 136, width: 12)
    block[156] = type.asciiValue ?? 0
    put(entry.link, at: 157, limit: 100)
    put(Array("ustar\u{0}00".utf8), at: 257, limit: 8)
    octal(UInt64(entry.major), at: 329, width: 8)
    octal(UInt64(entry.minor), at: 337, width: 8)
    for index in 148..<156 { block[index] = 32 }
    octal(block.reduce(0) { $0 + UInt64($1) }, at: 148, width: 7)
    block[155] = 32
    bytes += block
  }
}
