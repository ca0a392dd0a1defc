/// The rules for names that Kubernetes states under "Object Names and IDs" and "Labels and Selectors". A rule returns
/// nil for a good name, else what is wrong with it.
enum Names {
  /// A DNS label (RFC 1123): what a namespace, a container and a volume are called.
  static func labelTrouble(_ text: String) -> String? {
    let isGood = !text.isEmpty && text.utf8.count <= 63 && text.utf8.allSatisfy(isLowerAlphanumericOrDash)
    guard isGood, isLowerAlphanumeric(text.utf8.first), isLowerAlphanumeric(text.utf8.last) else {
      return
        "\"\(text)\" must be 1 to 63 lower-case letters, digits or \"-\", beginning and ending with a letter or digit"
    }
    return nil
  }

  /// A DNS subdomain (RFC 1123): what a pod is called.
  static func subdomainTrouble(_ text: String) -> String? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    let isGood = parts.allSatisfy { part in
      !part.isEmpty && part.utf8.allSatisfy(isLowerAlphanumericOrDash) && isLowerAlphanumeric(part.utf8.first)
        && isLowerAlphanumeric(part.utf8.last)
    }
    guard isGood, text.utf8.count <= 253 else {
      return "\"\(text)\" must be 1 to 253 lower-case letters, digits, \"-\" or \".\", each part beginning and ending "
        + "with a letter or digit"
    }
    return nil
  }

  /// The key of a label: an optional DNS prefix with a slash, then a name.
  static func labelKeyTrouble(_ text: String) -> String? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard let name = parts.last, parts.count <= 2, isQualifiedName(name),
      parts.count == 1 || subdomainTrouble(parts[0]) == nil
    else { return "\"\(text)\" is not a valid label key" }
    return nil
  }

  /// The value of a label: empty, or 63 letters, digits, `-`, `_` and `.`.
  static func labelValueTrouble(_ text: String) -> String? {
    guard text.isEmpty || isQualifiedName(text) else { return "\"\(text)\" is not a valid label value" }
    return nil
  }

  private static func isQualifiedName(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 63 && isAlphanumeric(text.utf8.first) && isAlphanumeric(text.utf8.last)
      && text.utf8.allSatisfy {
        isAlphanumeric($0) || [UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ".")].contains($0)
      }
  }

  private static func isAlphanumeric(_ byte: UInt8?) -> Bool {
    isLowerAlphanumeric(byte) || byte.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) } ?? false
  }

  private static func isLowerAlphanumeric(_ byte: UInt8?) -> Bool {
    guard let byte else { return false }
    return (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
      || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  private static func isLowerAlphanumericOrDash(_ byte: UInt8) -> Bool {
    isLowerAlphanumeric(byte) || byte == UInt8(ascii: "-")
  }
}
