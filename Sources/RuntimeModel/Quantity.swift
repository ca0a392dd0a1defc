/// A Kubernetes resource quantity, exact: `500m`, `0.5`, `64Mi`, `1e3`.
///
/// Grammar as in the Kubernetes API reference ("Quantity"): a signed number, then a binary suffix (`Ki` to `Ei`), a
/// decimal one (`n`, `u`, `m`, none, `k` to `E`) or a decimal exponent.
package struct Quantity: Sendable, Equatable {
  /// The value in billionths, which is the smallest unit the grammar knows.
  private let nanos: Int128

  /// - Returns: nil when `text` is not a quantity, is negative, or does not fit.
  package init?(_ text: String) {
    let scalars = Array(text.utf8)
    var position = 0
    if position < scalars.count, scalars[position] == UInt8(ascii: "+") { position += 1 }
    var digits: Int128 = 0
    var fractionDigits = 0
    var seenPoint = false
    var seenDigit = false
    while position < scalars.count {
      let byte = scalars[position]
      if byte == UInt8(ascii: "."), !seenPoint {
        seenPoint = true
      } else if byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") {
        seenDigit = true
        guard digits < 1_000_000_000_000_000_000_000 else { return nil }
        digits = digits * 10 + Int128(byte - UInt8(ascii: "0"))
        if seenPoint { fractionDigits += 1 }
      } else {
        break
      }
      position += 1
    }
    guard seenDigit, let suffix = String(validating: scalars[position...], as: UTF8.self),
      let (factor, exponent) = Self.scale(suffix)
    else { return nil }
    var value = digits
    var tens = exponent - fractionDigits + 9
    let (multiplied, overflow) = value.multipliedReportingOverflow(by: factor)
    guard !overflow else { return nil }
    value = multiplied
    while tens > 0 {
      let (next, overflow) = value.multipliedReportingOverflow(by: 10)
      guard !overflow else { return nil }
      value = next
      tens -= 1
    }
    while tens < 0 {
      value = (value + 9) / 10
      tens += 1
    }
    nanos = value
  }

  /// Thousandths of a CPU, rounded up.
  package var milliCPU: Int64 { Int64(clamping: (nanos + 999_999) / 1_000_000) }

  /// Whole units (bytes, bits per second), rounded up; what is larger than 2^63 - 1 stays at that.
  package var units: Int64 { Int64(clamping: (nanos + 999_999_999) / 1_000_000_000) }

  private static func scale(_ suffix: String) -> (factor: Int128, exponent: Int)? {
    switch suffix {
    case "": return (1, 0)
    case "n": return (1, -9)
    case "u": return (1, -6)
    case "m": return (1, -3)
    case "k": return (1, 3)
    case "M": return (1, 6)
    case "G": return (1, 9)
    case "T": return (1, 12)
    case "P": return (1, 15)
    case "E": return (1, 18)
    case "Ki": return (1 << 10, 0)
    case "Mi": return (1 << 20, 0)
    case "Gi": return (1 << 30, 0)
    case "Ti": return (1 << 40, 0)
    case "Pi": return (1 << 50, 0)
    case "Ei": return (1 << 60, 0)
    default:
      guard let first = suffix.first, first == "e" || first == "E", let exponent = Int(suffix.dropFirst()),
        abs(exponent) <= 18
      else { return nil }
      return (1, exponent)
    }
  }
}
