internal import Glibc

/// Where the search for a free address goes on after a restart. Not synced: after a crash of the node no address is in
/// use by anybody.
struct CursorFile: Sendable {
  var path: String

  init(directory: String) { path = directory + "/address-cursor" }

  func read() -> UInt32? {
    let raw = open(path, O_RDONLY | O_CLOEXEC)
    guard raw >= 0 else { return nil }
    defer { close(raw) }
    var bytes = [UInt8](repeating: 0, count: 16)
    let count = Glibc.read(raw, &bytes, bytes.count)
    guard count > 0 else { return nil }
    return UInt32(String(decoding: bytes[..<count].prefix { $0 > UInt8(ascii: " ") }, as: UTF8.self))
  }

  /// Best effort: without it an address is only reused sooner.
  func write(_ number: UInt32) {
    let raw = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard raw >= 0 else { return }
    defer { close(raw) }
    let text = String(number)
    let line = Array((text + String(repeating: " ", count: max(0, 10 - text.utf8.count)) + "\n").utf8)
    _ = pwrite(raw, line, line.count, 0)
  }
}
