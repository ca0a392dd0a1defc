/// Builds an SVG document from shapes with style classes. All text is escaped here.
struct SVGCanvas: Sendable {
  private var body: [String] = []

  /// Where a text's position is within it.
  enum Anchor: String { case start, middle, end }

  mutating func rectangle(
    _ x: Double, _ y: Double, _ width: Double, _ height: Double, radius: Double = 6, _ style: String
  ) {
    body.append(
      "<rect class=\"\(style)\" x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" width=\"\(Self.number(width))\" "
        + "height=\"\(Self.number(height))\" rx=\"\(Self.number(radius))\"/>")
  }

  mutating func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ style: String) {
    path("M\(Self.number(x1)) \(Self.number(y1))L\(Self.number(x2)) \(Self.number(y2))", style)
  }

  mutating func path(_ data: String, _ style: String) { body.append("<path class=\"\(style)\" d=\"\(data)\"/>") }

  mutating func circle(_ x: Double, _ y: Double, _ radius: Double, _ style: String) {
    body.append(
      "<circle class=\"\(style)\" cx=\"\(Self.number(x))\" cy=\"\(Self.number(y))\" r=\"\(Self.number(radius))\"/>")
  }

  /// - Parameter style: with the font size, which ``TextSize`` has.
  mutating func text(_ x: Double, _ y: Double, _ text: String, _ style: String, _ anchor: Anchor = .start) {
    body.append(
      "<text class=\"\(style)\" x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" text-anchor=\"\(anchor.rawValue)\">"
        + "\(Self.escaped(text))</text>")
  }

  /// A tooltip for everything that `draw` adds.
  mutating func group(title: String, _ draw: (inout SVGCanvas) -> Void) {
    body.append("<g><title>\(Self.escaped(title))</title>")
    draw(&self)
    body.append("</g>")
  }

  /// - Parameter title: what the picture shows, for readers who do not see it.
  func document(width: Double, height: Double, title: String) -> String {
    let size = "\(Self.number(width)) \(Self.number(height))"
    return """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(size)" width="\(Self.number(width))" \
      height="\(Self.number(height))" role="img">
      <title>\(Self.escaped(title))</title>
      <style>
      \(SVGStyle.sheet)</style>
      <rect class="ground" x="0.5" y="0.5" width="\(Self.number(width - 1))" height="\(Self.number(height - 1))" rx="12"/>
      \(body.joined(separator: "\n"))
      </svg>
      """
  }

  /// With at most one decimal.
  static func number(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    let sign = tenths < 0 ? "-" : ""
    return tenths % 10 == 0 ? "\(tenths / 10)" : "\(sign)\(abs(tenths) / 10).\(abs(tenths) % 10)"
  }

  /// For content and attribute values; characters that XML 1.0 does not have are dropped.
  static func escaped(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F || (0xFFFE...0xFFFF).contains(scalar.value): break
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}

/// How wide text is, near enough to keep it within its box: no font is at hand.
enum TextSize {
  /// Of a proportional font at a size in pixels.
  static func width(_ text: String, size: Double) -> Double { Double(text.count) * size * 0.58 }

  /// The text, or its beginning and an ellipsis.
  static func fitted(_ text: String, characters: Int) -> String {
    text.count <= characters ? text : text.prefix(max(1, characters - 1)) + "…"
  }
}
