package import RuntimeModel

/// A fully qualified name of a CDI device: `vendor/class=name`, for instance `vendor.com/gpu=0`.
package struct DeviceName: Sendable, Hashable, CustomStringConvertible {
  package let vendor: String
  package let kindClass: String
  package let name: String

  /// What the specification calls kind.
  package var kind: String { "\(vendor)/\(kindClass)" }
  package var description: String { "\(kind)=\(name)" }

  /// - Parameter field: what the request calls the text, for the error.
  /// - Throws: `invalidArgument` naming the field and what is wrong.
  package init(_ text: String, field: String) throws(RuntimeError) {
    let halves = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let qualifier = halves[0].split(separator: "/", omittingEmptySubsequences: false)
    guard halves.count == 2, qualifier.count == 2 else {
      throw RuntimeError(.invalidArgument, "\(field): \"\(text)\" is not vendor/class=name")
    }
    let parts = [("vendor", qualifier[0]), ("class", qualifier[1]), ("name", halves[1])]
    for (what, part) in parts where !Self.isWord(part, more: what == "name" ? ":" : "", startsWithDigit: what == "name")
    {
      throw RuntimeError(.invalidArgument, "\(field): \"\(text)\" has no valid \(what)")
    }
    vendor = String(qualifier[0])
    kindClass = String(qualifier[1])
    name = String(halves[1])
  }

  init(vendor: String, kindClass: String, name: String) {
    self.vendor = vendor
    self.kindClass = kindClass
    self.name = name
  }

  /// Letters, digits, `-`, `_`, `.` and `more`; a letter (or digit) first, a letter or digit last (CDI's SPEC.md, "Kind").
  static func isWord(_ text: Substring, more: String = "", startsWithDigit: Bool = false) -> Bool {
    let bytes = Array(text.utf8)
    guard let first = bytes.first, let last = bytes.last, bytes.count <= 253 else { return false }
    let inner = Set("-_.\(more)".utf8)
    return (isLetter(first) || (startsWithDigit && isDigit(first))) && (isLetter(last) || isDigit(last))
      && bytes.allSatisfy { isLetter($0) || isDigit($0) || inner.contains($0) }
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
}
