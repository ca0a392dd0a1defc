/// What one node of the cluster tells the others: enough to send packets to its pods. A row of the node registry.
package struct NodeRecord: Sendable, Hashable, Codable {
  /// Unique in the cluster; at most 253 characters of a DNS name.
  package var name: String
  /// The node's pod blocks, at most one of each family.
  package var podCIDRs: [String]
  /// Address of the node itself on the underlay, in text; nil where it has none of that family. At least one is set.
  package var address4: String?
  package var address6: String?
  /// How the node wants to be reached: `host-gw`, `vxlan` or `auto`.
  package var backend: String
  /// Ethernet address of the node's tunnel interface; nil: the one that follows from its first pod block.
  package var vtepMAC: String?
  /// VXLAN network identifier of its tunnel.
  package var vni: Int
  /// UDP port of its tunnel.
  package var port: Int
  /// MTU of its pods; nil when it did not say.
  package var mtu: Int?
  /// Version of this format.
  package var version: Int

  package static let currentVersion = 1

  package init(
    name: String, podCIDRs: [String], address4: String?, address6: String?, backend: String = "auto",
    vtepMAC: String? = nil, vni: Int = 1, port: Int = 4789, mtu: Int? = nil
  ) {
    self.name = name
    self.podCIDRs = podCIDRs
    self.address4 = address4
    self.address6 = address6
    self.backend = backend
    self.vtepMAC = vtepMAC
    self.vni = vni
    self.port = port
    self.mtu = mtu
    version = Self.currentVersion
  }

  /// What is left out has its default, so that an administrator writes name, blocks and address only.
  package init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: CodingKeys.self)
    name = try fields.decode(String.self, forKey: .name)
    podCIDRs = try fields.decode([String].self, forKey: .podCIDRs)
    address4 = try fields.decodeIfPresent(String.self, forKey: .address4)
    address6 = try fields.decodeIfPresent(String.self, forKey: .address6)
    backend = try fields.decodeIfPresent(String.self, forKey: .backend) ?? "auto"
    vtepMAC = try fields.decodeIfPresent(String.self, forKey: .vtepMAC)
    vni = try fields.decodeIfPresent(Int.self, forKey: .vni) ?? 1
    port = try fields.decodeIfPresent(Int.self, forKey: .port) ?? 4789
    mtu = try fields.decodeIfPresent(Int.self, forKey: .mtu)
    version = try fields.decodeIfPresent(Int.self, forKey: .version) ?? Self.currentVersion
  }

  /// The node's own addresses.
  package var addresses: [String] { [address4, address6].compactMap { $0 } }

  /// Whether a node can have this name: it is part of keys and of messages.
  package static func isName(_ text: String) -> Bool {
    (1...253).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
          true
        default: false
        }
      }
  }

  /// What is wrong with it as it stands, by field; nil when it can be used.
  package var fault: String? {
    guard Self.isName(name) else {
      return "name: \"\(name.prefix(64))\" is not 1 to 253 letters, digits, -, _ or ."
    }
    guard version == Self.currentVersion else { return "version: \(version) is not \(Self.currentVersion)" }
    let blocks = podCIDRs.compactMap { AddressBlock($0) }
    guard blocks.count == podCIDRs.count, !blocks.isEmpty, Set(blocks.map(\.family)).count == blocks.count else {
      return "podCIDRs: \(podCIDRs) is not one CIDR block, or one of each family"
    }
    for (field, text, family) in [("address4", address4, AddressFamily.ipv4), ("address6", address6, .ipv6)] {
      guard let text else { continue }
      guard let address = IPAddress(text), address.family == family, !address.isSpecial else {
        return "\(field): \"\(text)\" is not an address of a node"
      }
    }
    guard !addresses.isEmpty else { return "address4, address6: both are missing" }
    guard ["host-gw", "vxlan", "auto"].contains(backend) else { return "backend: \"\(backend)\" is not known" }
    guard (1..<1 << 24).contains(vni), (1...65535).contains(port) else { return "vni, port: out of range" }
    return nil
  }
}

extension IPAddress {
  /// Loopback, link-local, multicast or nothing: no address that another node could be reached by.
  package var isSpecial: Bool { Self.special.contains { $0.contains(self) } }

  private static let special = [
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/8", "fe80::/10", "ff00::/8",
  ].compactMap { AddressBlock($0) }
}
