import FoundationEssentials

/// - Returns: nil unless `text` is base64.
func decodeBase64(_ text: String) -> [UInt8]? { Data(base64Encoded: text).map(Array.init) }

func encodeBase64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }

/// Escapes all but the unreserved characters of RFC 3986, for a query or a form.
func percentEncode(_ text: String) -> String {
  var result = ""
  for byte in text.utf8 {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
      result.unicodeScalars.append(Unicode.Scalar(byte))
    default:
      let hex = String(byte, radix: 16, uppercase: true)
      result += "%" + (hex.utf8.count == 1 ? "0" : "") + hex
    }
  }
  return result
}
