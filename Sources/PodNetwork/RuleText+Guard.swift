internal import RuntimeModel

/// Table `podguard`: what a pod sends is its own (NETWORK.md 5.5). The port itself lets in no other MAC.
extension RuleText {
  var guardTable: String {
    var text = counters(inBridge: true)
    for family in families {
      text += Self.collection(
        "set", "pair\(family.digit)", "type ether_addr . \(family)_addr", [pairs(family, filledBlocks.sorted())])
    }
    if isAdvertising {
      text += Self.collection(
        "set", "target6", "typeof ether saddr . @th,64,128", [targets(filledBlocks.sorted())])
    }
    // Frames of other bridges are none of our business. Interface names follow from addresses, so our ports are a few
    // prefixes; this kernel has no `meta ibrname`.
    text += chain(
      "prerouting", "type filter hook prerouting priority -300",
      plan.interfacePatterns.map { "iifname \"\($0)\" jump check" })
    // Servers of DHCP, of both families.
    var rules = ["udp sport { 67, 547 } \(RuleCounter.dhcpServer.drop)"]
    if plan.ipv4 != nil {
      rules += [
        "ether type ip ether saddr . ip saddr @pair4 accept", "ether type ip \(RuleCounter.spoofedIPv4.drop)",
        "ether type arp ether saddr . arp saddr ip @pair4 arp saddr ether . arp saddr ip @pair4 accept",
        "ether type arp \(RuleCounter.spoofedARP.drop)",
      ]
    }
    if plan.ipv6 != nil {
      rules.append(
        "ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } \(RuleCounter.routerAdvertisement.drop)")
      // Where pods hear each other, a pod advertises no address but its own (RFC 4861 section 4.4: target at 8 bytes).
      if isAdvertising {
        rules.append(
          "ether type ip6 icmpv6 type nd-neighbor-advert ether saddr . @th,64,128 != @target6 "
            + RuleCounter.spoofedIPv6.drop)
      }
      rules += [
        "ether type ip6 ether saddr . ip6 saddr @pair6 accept",
        // What every pod says once before it has an address (RFC 3810) is no attack, and of use to nobody.
        "ether type ip6 ip6 saddr :: drop", "ether type ip6 \(RuleCounter.spoofedIPv6.drop)",
      ]
    }
    return text + chain("check", nil, rules + [RuleCounter.foreignFrame.drop])
  }

  /// Adds the anti-spoof pairs of one block of host numbers.
  func fill(block: UInt32) -> String {
    let table = "bridge \(plan.guardTable)"
    return families.map { family in
      "add element \(table) pair\(family.digit) { \(pairs(family, [block])) }\n"
    }.joined() + (isAdvertising ? "add element \(table) target6 { \(targets([block])) }\n" : "")
  }

  private var isAdvertising: Bool { plan.isSwitched && plan.ipv6 != nil }

  /// The pairs of `pair6`, with the addresses as numbers: nftables 1.0.6 has no name for an advertisement's target.
  private func targets(_ blocks: [UInt32]) -> String {
    pairs(.ipv6, blocks) {
      "0x" + hexadecimal(UInt64($0.value >> 64), digits: 16)
        + hexadecimal(UInt64(truncatingIfNeeded: $0.value), digits: 16)
    }
  }

  private func pairs(
    _ family: AddressFamily, _ blocks: [UInt32], _ text: (IPAddress) -> String = { "\($0)" }
  ) -> String {
    guard let block = family == .ipv4 ? plan.ipv4 : plan.ipv6 else { return "" }
    var elements: [String] = []
    for filled in blocks {
      for number in plan.hostNumbers(inPairBlock: filled) {
        let mac = plan.mac(number)
        elements.append("\(mac) . \(text(block.address(number)))")
        if family == .ipv6 { elements.append("\(mac) . \(text(mac.linkLocal))") }
      }
    }
    return elements.joined(separator: ", ")
  }
}

extension NetworkPlan {
  /// The host numbers of one block of the anti-spoof sets.
  func hostNumbers(inPairBlock block: UInt32) -> ClosedRange<UInt32> {
    let first = block * Self.pairBlock
    return max(first, hostNumbers.lowerBound)...min(first + Self.pairBlock - 1, hostNumbers.upperBound)
  }

  /// The blocks that are filled at the start: all of a small CIDR, none of a large one.
  var prefilledBlocks: Set<UInt32> {
    let last = hostNumbers.upperBound / Self.pairBlock
    return last < 4 ? Set(0...last) : []
  }

  /// Wildcards that match the names of our pods' interfaces, and those of no other pod CIDR.
  var interfacePatterns: [String] {
    let hostBits = ipv4.map { 32 - $0.prefix } ?? UInt32.bitWidth - hostNumbers.upperBound.leadingZeroBitCount
    let first = ipv4.map { UInt32(truncatingIfNeeded: $0.base.value) } ?? 0
    let wildDigits = hostBits / 4
    return (0..<UInt32(1) << (hostBits % 4)).map { part in
      let digits = hexadecimal(UInt64(first | part << (wildDigits * 4)), digits: 8).prefix(8 - wildDigits)
      return configuration.interfacePrefix + digits + (wildDigits == 0 ? "" : "*")
    }
  }
}
