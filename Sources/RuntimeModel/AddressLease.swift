/// The addresses that one sandbox holds, and the names that follow from them.
///
/// A lease is a row of the record database, written in the same transaction as its sandbox; each address is unique there.
package struct AddressLease: Sendable, Hashable, Codable {
  /// Text form (inet_ntop(3)); nil where the node has no CIDR of that family. At least one is set.
  package var ipv4: String?
  package var ipv6: String?
  /// `0a:58:` and the four bytes of the IPv4 address, or of the IPv6 host number.
  package var mac: String
  /// Interface on the node: `pod` and 8 hexadecimal digits of the address.
  package var hostInterface: String

  package init(ipv4: String?, ipv6: String?, mac: String, hostInterface: String) {
    self.ipv4 = ipv4
    self.ipv6 = ipv6
    self.mac = mac
    self.hostInterface = hostInterface
  }

  /// In the order the CRI shows them: the first is `ip`, the rest `additional_ips`.
  package var addresses: [String] { [ipv4, ipv6].compactMap { $0 } }
}
