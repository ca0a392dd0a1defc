internal import Glibc

/// The two families of Internet addresses.
package enum AddressFamily: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  case ipv4, ipv6

  /// As in nftables' `ipv4_addr`.
  package var description: String { rawValue }

  /// Bits of an address.
  package var width: Int { self == .ipv4 ? 32 : 128 }

  /// AF_INET or AF_INET6.
  package var number: Int32 { self == .ipv4 ? AF_INET : AF_INET6 }
}

/// One Internet address as a number.
package struct IPAddress: Sendable, Hashable, Comparable, CustomStringConvertible {
  package var family: AddressFamily
  /// In host order; an IPv4 address is the low 32 bits.
  package var value: UInt128

  package init(_ family: AddressFamily, _ value: UInt128) {
    self.family = family
    self.value = value
  }

  /// - Returns: nil unless inet_pton(3) reads the text as an address of either family.
  package init?(_ text: String) {
    for family in AddressFamily.allCases {
      var bytes = [UInt8](repeating: 0, count: family.width / 8)
      if inet_pton(family.number, text, &bytes) == 1 {
        self.init(family, bytes: bytes)
        return
      }
    }
    return nil
  }

  /// - Parameter bytes: in network order, 4 or 16.
  package init(_ family: AddressFamily, bytes: some Sequence<UInt8>) {
    self.init(family, bytes.reduce(0) { $0 << 8 | UInt128($1) })
  }

  /// In network order.
  package var bytes: [UInt8] {
    stride(from: family.width - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> UInt128($0)) }
  }

  /// As inet_ntop(3) writes it.
  package var description: String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    guard inet_ntop(family.number, bytes, &text, socklen_t(text.count)) != nil else { return "" }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  package static func < (a: IPAddress, b: IPAddress) -> Bool {
    a.family == b.family ? a.value < b.value : a.family == .ipv4
  }
}

/// A CIDR block: RFC 4632, RFC 4291 section 2.3.
package struct AddressBlock: Sendable, Hashable, Comparable, CustomStringConvertible {
  /// The first address; no host bits.
  package var base: IPAddress
  package var prefix: Int

  package var family: AddressFamily { base.family }

  /// Host bits of `address` are cleared.
  package init(_ address: IPAddress, prefix: Int) {
    self.prefix = prefix
    self.base = IPAddress(address.family, address.value & ~Self.hostMask(address.family, prefix))
  }

  /// - Returns: nil unless the text is `address/prefix` without host bits.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard
      parts.count == 2, let address = IPAddress(String(parts[0])),
      parts[1].utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }),
      let prefix = Int(parts[1]), prefix <= address.family.width
    else { return nil }
    self.init(address, prefix: prefix)
    guard base == address else { return nil }
  }

  /// The last address.
  package var last: IPAddress { IPAddress(family, base.value | Self.hostMask(family, prefix)) }

  package var description: String { "\(base)/\(prefix)" }

  package func contains(_ address: IPAddress) -> Bool {
    address.family == family && address.value >= base.value && address.value <= last.value
  }

  package func contains(_ other: AddressBlock) -> Bool { other.prefix >= prefix && contains(other.base) }

  package func overlaps(_ other: AddressBlock) -> Bool { contains(other) || other.contains(self) }

  /// The address `number` above the first.
  package func address(_ number: UInt32) -> IPAddress { IPAddress(family, base.value + UInt128(number)) }

  /// The blocks without those that another one holds, in order: nftables refuses overlapping elements.
  package static func merged(_ blocks: [AddressBlock]) -> [AddressBlock] {
    let distinct = Set(blocks)
    return distinct.filter { block in !distinct.contains { $0 != block && $0.contains(block) } }.sorted()
  }

  package static func < (a: AddressBlock, b: AddressBlock) -> Bool {
    a.base == b.base ? a.prefix < b.prefix : a.base < b.base
  }

  private static func hostMask(_ family: AddressFamily, _ prefix: Int) -> UInt128 {
    let hostBits = family.width - prefix
    return hostBits == 128 ? .max : (1 << UInt128(hostBits)) - 1
  }
}
