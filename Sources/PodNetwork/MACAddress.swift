internal import RuntimeModel

/// An Ethernet address.
struct MACAddress: Sendable, Hashable, CustomStringConvertible {
  var bytes: [UInt8]

  /// `0a:58:` and the four bytes of the IPv4 address, or of the host number where a node has IPv6 only: locally
  /// administered, and known from the address alone, so that neighbours and anti-spoof sets need no learning.
  init(derivedFrom number: UInt32) {
    bytes = [0x0a, 0x58] + stride(from: 24, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> $0) }
  }

  /// - Parameter bytes: six.
  init(bytes: some Sequence<UInt8>) { self.bytes = Array(bytes) }

  /// - Returns: nil unless the text is six hexadecimal bytes joined by colons.
  init?(_ text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    let bytes = parts.compactMap { $0.utf8.count == 2 ? UInt8($0, radix: 16) : nil }
    guard parts.count == 6, bytes.count == 6 else { return nil }
    self.bytes = bytes
  }

  var description: String { bytes.map { hexadecimal(UInt64($0), digits: 2) }.joined(separator: ":") }

  /// The link-local address that the kernel gives an interface with this address (RFC 4291, appendix A).
  var linkLocal: IPAddress {
    let host = [bytes[0] ^ 2, bytes[1], bytes[2], 0xff, 0xfe, bytes[3], bytes[4], bytes[5]]
    return IPAddress(.ipv6, bytes: [0xfe, 0x80, 0, 0, 0, 0, 0, 0] + host)
  }
}

/// Lower case, padded with zeros.
func hexadecimal(_ value: UInt64, digits: Int) -> String {
  let text = String(value, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}
