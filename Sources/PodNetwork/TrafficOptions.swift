/// What one pod's traffic is subject to, beyond the configuration.
package struct TrafficOptions: Sendable, Hashable {
  /// Bits per second into the pod; nil: as much as there is.
  package var ingressRate: UInt64?
  /// Bits per second out of the pod.
  package var egressRate: UInt64?
  /// The pod's isolation group; only `isolation = "label"` looks at it.
  package var group: String?

  package init(ingressRate: UInt64? = nil, egressRate: UInt64? = nil, group: String? = nil) {
    self.ingressRate = ingressRate
    self.egressRate = egressRate
    self.group = group
  }

  /// Whether it can be a group's name: a Kubernetes label value that is not empty.
  package static func isGroup(_ text: String) -> Bool {
    func isAlphanumeric(_ byte: UInt8) -> Bool {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      default: false
      }
    }
    let bytes = Array(text.utf8)
    guard (1...63).contains(bytes.count), let first = bytes.first, let last = bytes.last else { return false }
    return isAlphanumeric(first) && isAlphanumeric(last)
      && bytes.allSatisfy {
        isAlphanumeric($0) || [UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ".")].contains($0)
      }
  }
}
