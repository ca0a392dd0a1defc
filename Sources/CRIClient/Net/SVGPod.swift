/// One pod as a card: its hidden pause and its containers within the network namespace, and the namespace's interface.
struct SVGPod: Sendable {
  static let width = 212.0
  private static let inset = 10.0
  private static let chipHeight = 22.0
  private static let chipSpacing = 6.0
  private static let longestChip = 16

  /// Where the pair leaves the card.
  enum Exit: Sendable { case bottom, left, right }

  let pod: Picture.Pod
  /// Writes the host end's name into the card; else it is written at the wire.
  let namesHostEnd: Bool

  private struct Chip {
    var text: String
    var style: String
    var x, width: Double
    var row: Int
  }

  private var chips: [Chip] {
    var chips: [Chip] = []
    var x = 0.0
    var row = 0
    func add(_ text: String, _ style: String) {
      let width = TextSize.width(text, size: 11) + 16
      if x > 0, x + width > Self.width - 4 * Self.inset {
        x = 0
        row += 1
      }
      chips.append(Chip(text: text, style: style, x: x, width: width, row: row))
      x += width + Self.chipSpacing
    }
    add(pod.pausePID == 0 ? "pause is gone" : "pause", "pause")
    for container in pod.containers.prefix(7) {
      add(TextSize.fitted(container.name, characters: Self.longestChip), container.isRunning ? "run" : "end")
    }
    if pod.containers.count > 7 { add("+\(pod.containers.count - 7)", "end") }
    return chips
  }

  private var lines: [(text: String, style: String)] {
    var lines: [(text: String, style: String)] = []
    if pod.isHostNetwork {
      lines.append(("shares the node's network", "faint"))
    } else {
      for address in pod.addresses.prefix(2) { lines.append((address, lines.isEmpty ? "mono" : "monofaint")) }
      if namesHostEnd { lines.append(("\(pod.interface) ⇄ \(pod.hostInterface)", "monofaint")) }
    }
    if !pod.ports.isEmpty {
      let shown = pod.ports.prefix(2).joined(separator: " ") + (pod.ports.count > 2 ? " …" : "")
      lines.append((TextSize.fitted("port \(shown)", characters: 31), "faint"))
    }
    if let trouble = pod.trouble.first { lines.append((TextSize.fitted(trouble, characters: 31), "trouble")) }
    return lines
  }

  private var chipsHeight: Double {
    let rows = Double((chips.last?.row ?? 0) + 1)
    return rows * Self.chipHeight + (rows - 1) * Self.chipSpacing
  }

  var height: Double { 30 + chipsHeight + 2 * Self.inset + 8 + Double(lines.count) * 15 + 8 }

  /// - Parameter height: of the card, at least its own.
  func draw(_ canvas: inout SVGCanvas, x: Double, y: Double, height: Double, exit: Exit) {
    let title = "\(pod.namespace)/\(pod.name), pause \(pod.pausePID)" + pod.trouble.map { ", \($0)" }.joined()
    canvas.group(title: title) { canvas in
      canvas.rectangle(x, y, Self.width, height, radius: 8, pod.trouble.isEmpty ? "card" : "badcard")
      let name = TextSize.fitted(pod.name, characters: 18)
      canvas.text(x + Self.inset, y + 20, name, "name")
      let left = 25 - name.count
      if left >= 7 {
        canvas.text(
          x + Self.width - Self.inset, y + 20, TextSize.fitted(pod.namespace, characters: left), "faint", .end)
      }
      drawNamespace(&canvas, x: x + Self.inset, y: y + 30)
      let centred = exit == .bottom
      // Over the interface where that is at the bottom, so that a row's addresses stand in line.
      var baseline =
        centred
        ? y + height - 16 - Double(lines.count - 1) * 15 : y + 30 + chipsHeight + 2 * Self.inset + 18
      for line in lines {
        canvas.text(
          centred ? x + Self.width / 2 : x + Self.inset, baseline, line.text, line.style, centred ? .middle : .start)
        baseline += 15
      }
      if !pod.isHostNetwork { drawInterface(&canvas, x: x, y: y, height: height, exit: exit) }
    }
  }

  private func drawNamespace(_ canvas: inout SVGCanvas, x: Double, y: Double) {
    if !pod.isHostNetwork {
      canvas.rectangle(x, y, Self.width - 2 * Self.inset, chipsHeight + 2 * Self.inset, "namespacebox")
    }
    for chip in chips {
      let left = x + Self.inset + chip.x
      let top = y + Self.inset + Double(chip.row) * (Self.chipHeight + Self.chipSpacing)
      canvas.rectangle(left, top, chip.width, Self.chipHeight, radius: 11, "\(chip.style)box")
      canvas.text(left + chip.width / 2, top + 15, chip.text, "chip \(chip.style)text", .middle)
    }
  }

  private func drawInterface(_ canvas: inout SVGCanvas, x: Double, y: Double, height: Double, exit: Exit) {
    let at = Self.place(exit, x: x, y: y, height: height)
    canvas.circle(at.x, at.y, 5, "plug")
  }

  /// The point on the card's edge where the pair begins.
  static func place(_ exit: Exit, x: Double, y: Double, height: Double) -> (x: Double, y: Double) {
    switch exit {
    case .bottom: (x + width / 2, y + height)
    case .left: (x, y + height - 24)
    case .right: (x + width, y + height - 24)
    }
  }
}
