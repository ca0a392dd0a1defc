/// The name of an image in a registry, in normal form: a host, a path, and a tag or a digest.
package struct ImageReference: Sendable, Hashable, CustomStringConvertible {
  /// `docker.io`, `localhost:5000`, `[::1]:5000`.
  package let host: String
  /// `library/busybox`.
  package let path: String
  /// nil when the digest decides.
  package let tag: String?
  package let digest: ContentDigest?

  /// `docker.io/library/busybox`.
  package var name: String { "\(host)/\(path)" }

  /// The normal form; parsing it gives an equal reference.
  package var description: String {
    if let digest { return "\(name)@\(digest)" }
    return "\(name):\(tag ?? "latest")"
  }

  /// What a registry calls this image: its tag or digest.
  package var target: String { digest?.text ?? tag ?? "latest" }

  /// Where the image's registry answers.
  package var endpoint: String { host == "docker.io" ? "registry-1.docker.io" : host }

  /// Reads a reference as people write it: `busybox` is `docker.io/library/busybox:latest`; a tag beside a digest is
  /// dropped (the grammar is that of the Docker distribution project's reference specification).
  ///
  /// - Throws: ``ImageError`` of kind `invalidReference`.
  package init(_ text: String) throws(ImageError) {
    func invalid(_ why: String) -> ImageError {
      ImageError(.invalidReference, "the image reference \(printable(text.utf8)) \(why)")
    }
    guard !text.isEmpty else { throw invalid("is empty") }
    guard text.utf8.count <= 512 else { throw invalid("is too long") }
    let isID = Self.isHexOf64(text) || (text.hasPrefix("sha256:") && Self.isHexOf64(String(text.dropFirst(7))))
    guard !isID else { throw invalid("is an image id, which has no registry") }

    let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
    var digest: ContentDigest?
    if parts.count == 2 {
      guard let parsed = ContentDigest(String(parts[1])) else {
        throw invalid("ends with something else than a digest")
      }
      digest = parsed
    }
    let (named, tag) = Self.splitTag(parts[0])
    if let tag, !Self.isTag(tag) { throw invalid("has a bad tag") }
    let (host, path) = Self.splitHost(named)
    guard Self.isHost(host) else { throw invalid("has a bad host") }
    guard !path.isEmpty, path.utf8.count + host.utf8.count < 255, Self.isPath(path) else {
      throw invalid("has a bad name: lower-case letters, digits and single separators are allowed")
    }
    guard !Self.isHexOf64(path) else { throw invalid("is an image id, which has no registry") }
    self.host = host
    self.path = host == "docker.io" && !path.contains("/") ? "library/\(path)" : path
    self.digest = digest
    self.tag = digest == nil ? tag.map(String.init) ?? "latest" : nil
  }
}

extension ImageReference {
  /// A colon after the last slash separates the tag; one before it belongs to a port.
  private static func splitTag(_ text: Substring) -> (Substring, Substring?) {
    let start = text.lastIndex(of: "/").map { text.index(after: $0) } ?? text.startIndex
    guard let colon = text[start...].lastIndex(of: ":") else { return (text, nil) }
    return (text[..<colon], text[text.index(after: colon)...])
  }

  /// The first component is a host if it looks like one; else the image is Docker's.
  private static func splitHost(_ text: Substring) -> (host: String, path: String) {
    guard let slash = text.firstIndex(of: "/") else { return ("docker.io", String(text)) }
    let first = text[..<slash]
    let looksLikeHost =
      first.contains(".") || first.contains(":") || first == "localhost" || first.contains(where: \.isUppercase)
    guard looksLikeHost else { return ("docker.io", String(text)) }
    let host = first == "index.docker.io" ? "docker.io" : String(first)
    return (host, String(text[text.index(after: slash)...]))
  }

  /// `name[:port]` or `[address][:port]`.
  private static func isHost(_ text: String) -> Bool {
    var host = Substring(text)
    if let close = text.lastIndex(of: "]") {
      guard text.first == "[" else { return false }
      let address = text[text.index(after: text.startIndex)..<close]
      let rest = text[text.index(after: close)...]
      guard !address.isEmpty,
        address.utf8.allSatisfy({ isHex($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".") })
      else { return false }
      return rest.isEmpty || (rest.first == ":" && isPort(rest.dropFirst()))
    }
    if let colon = text.firstIndex(of: ":") {
      guard isPort(text[text.index(after: colon)...]) else { return false }
      host = text[..<colon]
    }
    return host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
      !label.isEmpty && label.first != "-" && label.last != "-"
        && label.utf8.allSatisfy { isLetterOrDigit($0) || $0 == UInt8(ascii: "-") }
    }
  }

  private static func isPort(_ text: Substring) -> Bool {
    !text.isEmpty && text.utf8.allSatisfy(isDigit) && UInt16(text) != nil
  }

  /// Components of lower-case letters and digits, with single separators `.`, `_`, `__` or any number of `-` inside.
  private static func isPath(_ text: String) -> Bool {
    text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { isPathComponent(Array($0.utf8)) }
  }

  private static func isPathComponent(_ bytes: [UInt8]) -> Bool {
    var index = 0
    while index < bytes.count {
      let start = index
      while index < bytes.count, isDigit(bytes[index]) || isLowerLetter(bytes[index]) { index += 1 }
      guard index > start else { return false }
      if index == bytes.count { return true }
      let separator = index
      while index < bytes.count, !(isDigit(bytes[index]) || isLowerLetter(bytes[index])) { index += 1 }
      let between = bytes[separator..<index]
      let isAllowed =
        between.elementsEqual(".".utf8) || between.elementsEqual("_".utf8) || between.elementsEqual("__".utf8)
        || between.allSatisfy { $0 == UInt8(ascii: "-") }
      guard isAllowed else { return false }
    }
    return false
  }

  static func isTag(_ text: Substring) -> Bool {
    guard (1...128).contains(text.utf8.count), let first = text.utf8.first else { return false }
    guard isLetterOrDigit(first) || first == UInt8(ascii: "_") else { return false }
    return text.utf8.allSatisfy {
      isLetterOrDigit($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
    }
  }

  static func isHexOf64(_ text: String) -> Bool { text.utf8.count == 64 && text.utf8.allSatisfy(isHex) }

  private static func isHex(_ byte: UInt8) -> Bool {
    isDigit(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
  }
  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
  private static func isLowerLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
  }
  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    isDigit(byte) || isLowerLetter(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
  }
}
