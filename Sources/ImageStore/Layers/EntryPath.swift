/// Where an entry stands in an image: components relative to the image's root, none of them empty, `.` or `..`, none
/// with a slash or NUL. Bytes, since file names need not be UTF-8.
struct EntryPath: Hashable, Sendable {
  /// Joined with `/`; empty is the root.
  let bytes: [UInt8]

  static let root = EntryPath(unchecked: [])

  var isRoot: Bool { bytes.isEmpty }

  /// Takes a name as an archive spells it: a leading `/` and `./` are dropped, inner `..` are applied to the words.
  ///
  /// - Parameter limit: the longest name in bytes.
  /// - Throws: ``ImageError``: `malformed` when it leads out of the root or holds a NUL, `limit` when it is too long.
  init(cleaning raw: some Collection<UInt8>, limit: Int) throws(ImageError) {
    guard raw.count <= limit else { throw ImageError(.limit, "a name of \(raw.count) bytes, of \(limit) allowed") }
    guard !raw.contains(0) else { throw ImageError(.malformed, "the name \(printable(raw)) holds a NUL") }
    // Nearly all names need no change.
    guard !Self.isClean(raw) else {
      bytes = Array(raw)
      return
    }
    var components: [ArraySlice<UInt8>] = []
    for part in Array(raw).split(separator: UInt8(ascii: "/")) {
      if part.elementsEqual(".".utf8) { continue }
      guard part.elementsEqual("..".utf8) else {
        components.append(part)
        continue
      }
      guard components.popLast() != nil else {
        throw ImageError(.malformed, "\(printable(raw)) points outside of the image")
      }
    }
    bytes = Array(components.joined(separator: [UInt8(ascii: "/")]))
  }

  private static func isClean(_ raw: some Collection<UInt8>) -> Bool {
    var length = 0
    var dots = 0
    for byte in raw {
      if byte == UInt8(ascii: "/") {
        if length == 0 || (length == dots && length < 3) { return false }
        length = 0
        dots = 0
      } else {
        length += 1
        if byte == UInt8(ascii: ".") { dots += 1 }
      }
    }
    return length > 0 && !(length == dots && length < 3)
  }

  private init(unchecked bytes: [UInt8]) { self.bytes = bytes }

  /// - Parameter name: one component.
  func appending(_ name: some Collection<UInt8>) -> EntryPath {
    EntryPath(unchecked: isRoot ? Array(name) : bytes + [UInt8(ascii: "/")] + name)
  }

  /// The last component; empty for the root.
  var name: ArraySlice<UInt8> {
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return bytes[...] }
    return bytes[(slash + 1)...]
  }

  /// The root for a path of one component, and for the root.
  var parent: EntryPath {
    guard let slash = bytes.lastIndex(of: UInt8(ascii: "/")) else { return .root }
    return EntryPath(unchecked: Array(bytes[..<slash]))
  }

  var components: [ArraySlice<UInt8>] { bytes.split(separator: UInt8(ascii: "/")) }

  /// True for `self` and everything below it.
  func contains(_ other: EntryPath) -> Bool {
    if isRoot || self == other { return true }
    return other.bytes.count > bytes.count && other.bytes[bytes.count] == UInt8(ascii: "/")
      && other.bytes.starts(with: bytes)
  }
}
