import Crypto

/// The digest of a blob: an algorithm of a closed list and lower-case hexadecimal digits of its exact length
/// (OCI image-spec, descriptor.md). Only a value of this type ever becomes part of a path or URL.
package struct ContentDigest: Sendable, Hashable, CustomStringConvertible {
  /// The digests that registries use.
  package enum Algorithm: String, Sendable, Hashable {
    case sha256, sha512

    var digits: Int { self == .sha256 ? 64 : 128 }
  }

  package let algorithm: Algorithm
  /// Lower case, 64 or 128 digits.
  package let hex: String

  /// `sha256:<hex>`.
  package var text: String { "\(algorithm.rawValue):\(hex)" }
  package var description: String { text }

  /// - Returns: nil unless `text` is `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits.
  package init?(_ text: String) {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, let algorithm = Algorithm(rawValue: String(parts[0])) else { return nil }
    guard parts[1].utf8.count == algorithm.digits, parts[1].utf8.allSatisfy(Self.isLowerHex) else { return nil }
    self.algorithm = algorithm
    self.hex = String(parts[1])
  }

  /// - Returns: nil unless `sha256Hex` is 64 lower-case hexadecimal digits.
  package init?(sha256Hex: String) {
    self.init("sha256:" + sha256Hex)
  }

  /// The SHA-256 digest of `bytes`.
  package init(of bytes: some Sequence<UInt8>) {
    var hasher = ContentHasher(.sha256)
    hasher.update(Array(bytes))
    self = hasher.finish()
  }

  fileprivate init(_ algorithm: Algorithm, bytes: some Sequence<UInt8>) {
    let digits = Array("0123456789abcdef".utf8)
    var hex: [UInt8] = []
    for byte in bytes {
      hex.append(digits[Int(byte >> 4)])
      hex.append(digits[Int(byte & 15)])
    }
    self.algorithm = algorithm
    self.hex = String(decoding: hex, as: UTF8.self)
  }

  static func isLowerHex(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
  }
}

extension ContentDigest: Codable {
  package init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let digest = ContentDigest(text) else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "\"\(text.prefix(160))\" is not a digest"))
    }
    self = digest
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }
}

/// Computes a digest of bytes as they pass.
struct ContentHasher {
  private enum State {
    case sha256(SHA256)
    case sha512(SHA512)
  }

  private var state: State

  init(_ algorithm: ContentDigest.Algorithm) {
    state = algorithm == .sha256 ? .sha256(SHA256()) : .sha512(SHA512())
  }

  mutating func update(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { update($0) }
  }

  mutating func update(_ bytes: UnsafeRawBufferPointer) {
    switch state {
    case .sha256(var hasher):
      // The enum lets go of the hasher first, so that it is updated in place.
      state = .sha256(SHA256())
      hasher.update(bufferPointer: bytes)
      state = .sha256(hasher)
    case .sha512(var hasher):
      state = .sha512(SHA512())
      hasher.update(bufferPointer: bytes)
      state = .sha512(hasher)
    }
  }

  func finish() -> ContentDigest {
    switch state {
    case .sha256(let hasher): ContentDigest(.sha256, bytes: hasher.finalize())
    case .sha512(let hasher): ContentDigest(.sha512, bytes: hasher.finalize())
    }
  }
}
