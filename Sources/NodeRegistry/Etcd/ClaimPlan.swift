internal import RuntimeModel

/// Which pod blocks a node asks for: pure.
struct ClaimPlan: Sendable {
  /// The cluster's blocks of which each node gets one of the given size; at most one of each family.
  var ranges: [(block: AddressBlock, prefix: Int)]

  /// - Parameter cluster: the first block of each family counts.
  /// - Throws: `configuration` when a node's block does not fit into the cluster's.
  init(cluster: [AddressBlock], maskSize4: Int, maskSize6: Int) throws(RegistryError) {
    ranges = []
    for family in AddressFamily.allCases {
      guard let block = cluster.first(where: { $0.family == family }) else { continue }
      let (prefix, key) = family == .ipv4 ? (maskSize4, "cidr_mask_size_ipv4") : (maskSize6, "cidr_mask_size_ipv6")
      guard prefix >= block.prefix else { throw .configuration(key: key, reason: "\(prefix) is larger than \(block)") }
      ranges.append((block, prefix))
    }
    guard !ranges.isEmpty else {
      throw .configuration(key: "pod_cidrs", reason: "\"auto\" needs network.cluster_cidrs")
    }
  }

  /// How many nodes there can be; at most 2^20.
  var count: Int {
    ranges.map { 1 << min(20, $0.prefix - $0.block.prefix) }.min() ?? 0
  }

  func blocks(_ number: Int) -> [AddressBlock] {
    ranges.map { range in
      let width = range.block.family.width
      let base = range.block.base.value + UInt128(number) << UInt128(width - range.prefix)
      return AddressBlock(IPAddress(range.block.family, base), prefix: range.prefix)
    }
  }

  /// The first free blocks from where the name says, so that nodes that come at once ask for different ones.
  /// - Returns: nil when all are taken.
  func choose(for name: String, taken: [AddressBlock]) -> [AddressBlock]? {
    let count = count
    guard count > 0 else { return nil }
    let start = Int(name.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }) % count
    let exact = Set(taken)
    let others = taken.filter { block in !ranges.contains { $0.prefix == block.prefix } }
    for turn in 0..<count {
      let blocks = blocks((start + turn) % count)
      if blocks.allSatisfy({ block in !exact.contains(block) && !others.contains(where: block.overlaps) }) {
        return blocks
      }
    }
    return nil
  }

  var description: String { ranges.map { "\($0.block)" }.joined(separator: " and ") }
}
