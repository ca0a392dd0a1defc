/// One node: its pods over its bridge, and below that its routing, its tunnel and its way out.
struct SVGNode: Sendable {
  private static let inset = 24.0
  private static let headHeight = 46.0
  private static let bridgeHeight = 46.0
  private static let boxHeight = 54.0
  /// Pods that stand in one row, each on a wire of its own; more are put into a grid.
  private static let singleRow = 4

  let node: Picture.Node
  private let cards: [SVGPod]
  private let columns: Int
  private let isGrid: Bool

  /// - Parameter isOneOfMany: several nodes stand side by side, each narrower.
  init(_ node: Picture.Node, isOneOfMany: Bool) {
    self.node = node
    let count = node.pods.count
    let most = isOneOfMany ? 3 : Self.singleRow
    isGrid = count > most
    let wanted = Int((Double(count) * 0.75).squareRoot().rounded(.up))
    columns = isGrid ? min(isOneOfMany ? 4 : 6, max(2, wanted + wanted % 2)) : max(1, count)
    let names = isGrid
    cards = node.pods.sorted { !$0.isHostNetwork && $1.isHostNetwork }.map { SVGPod(pod: $0, namesHostEnd: names) }
  }

  // MARK: size

  private var rows: Int { cards.isEmpty ? 0 : (cards.count + columns - 1) / columns }

  /// Between columns: a pair of columns has the bridge's arm between them.
  private func spacing(after column: Int) -> Double { isGrid && column % 2 == 0 ? 52 : 20 }

  private var contentWidth: Double {
    let gaps = (0..<max(0, columns - 1)).reduce(0.0) { $0 + spacing(after: $1) }
    // An odd last column in a grid has an arm of its own.
    return Double(columns) * SVGPod.width + gaps + (isGrid && columns % 2 == 1 ? 52 : 0)
  }

  var width: Double { max(contentWidth, node.tunnel == nil ? 430 : 500) + 2 * Self.inset }

  private func rowHeight(_ row: Int) -> Double {
    let first = row * columns
    return cards[first..<min(first + columns, cards.count)].map(\.height).max() ?? 0
  }

  private var podsHeight: Double {
    let heights = (0..<rows).reduce(0.0) { $0 + rowHeight($1) } + Double(max(0, rows - 1)) * 18
    return rows == 0 ? 40 : heights
  }

  private var wireHeight: Double { isGrid ? 24 : 52 }

  private var routeLines: [String] {
    var lines = node.routes.prefix(4).map { "\($0.destination) → \($0.peer)" + ($0.isPresent ? "" : " (missing)") }
    if node.routes.count > 4 { lines.append("and \(node.routes.count - 4) more") }
    return lines
  }

  private var lowerHeight: Double { Self.boxHeight + Double(routeLines.count) * 15 }

  var height: Double { Self.headHeight + podsHeight + wireHeight + Self.bridgeHeight + 28 + lowerHeight + 44 }

  /// Where the node's uplink is, from its left edge.
  var uplinkOffset: Double { Self.inset + 110 }

  /// Where the tunnel leaves, from its left edge.
  var tunnelOffset: Double { width - Self.inset - 110 }

  // MARK: drawing

  /// - Parameter height: of the box, at least its own: what is more is above the pods.
  func draw(_ canvas: inout SVGCanvas, x: Double, y: Double, height: Double) {
    canvas.rectangle(x, y, width, height, radius: 12, "frame")
    canvas.text(x + Self.inset, y + 29, "node \(node.name)", "title")
    canvas.text(
      x + width - Self.inset, y + 29, node.pods.count == 1 ? "1 pod" : "\(node.pods.count) pods", "faint", .end)
    let top = y + Self.headHeight + height - self.height
    let bridgeTop = top + podsHeight + wireHeight
    if cards.isEmpty { canvas.text(x + width / 2, top + 22, "no pods", "faint", .middle) }
    drawBridge(&canvas, x: x + Self.inset, y: bridgeTop)
    drawPods(&canvas, x: x + (width - contentWidth) / 2, top: top, bridgeTop: bridgeTop)
    drawLower(&canvas, x: x, y: bridgeTop + Self.bridgeHeight + 28, bottom: y + height)
  }

  private func drawPods(_ canvas: inout SVGCanvas, x: Double, top: Double, bridgeTop: Double) {
    var lefts: [Double] = []
    var left = x
    for column in 0..<columns {
      lefts.append(left)
      left += SVGPod.width + spacing(after: column)
    }
    if isGrid { drawArms(&canvas, lefts, top: top, bridgeTop: bridgeTop) }
    var y = top
    for row in 0..<rows {
      let tall = rowHeight(row)
      for column in 0..<columns {
        let index = row * columns + column
        guard cards.indices.contains(index) else { break }
        let exit: SVGPod.Exit = isGrid ? (column % 2 == 0 ? .right : .left) : .bottom
        drawWire(&canvas, cards[index].pod, exit, x: lefts[column], y: y, height: tall, bridgeTop: bridgeTop)
        cards[index].draw(&canvas, x: lefts[column], y: y, height: tall, exit: exit)
      }
      y += tall + 18
    }
  }

  /// The bridge reaches up between two columns of pods.
  private func drawArms(_ canvas: inout SVGCanvas, _ lefts: [Double], top: Double, bridgeTop: Double) {
    for column in stride(from: 0, to: columns, by: 2) where cards.indices.contains(column) {
      let x = lefts[column] + SVGPod.width + 21
      let from = top + rowHeight(0) - 36
      canvas.rectangle(x, from, 10, bridgeTop - from + 6, radius: 5, "bridge")
    }
  }

  private func drawWire(
    _ canvas: inout SVGCanvas, _ pod: Picture.Pod, _ exit: SVGPod.Exit, x: Double, y: Double, height: Double,
    bridgeTop: Double
  ) {
    guard !pod.isHostNetwork else { return }
    let from = SVGPod.place(exit, x: x, y: y, height: height)
    let style = pod.trouble.isEmpty ? "veth" : "lost"
    switch exit {
    case .bottom:
      canvas.line(from.x, from.y, from.x, bridgeTop, style)
      canvas.circle(from.x, bridgeTop, 5, "plug")
      canvas.text(from.x + 10, from.y + 20, pod.interface, "monofaint")
      canvas.text(from.x + 10, bridgeTop - 10, pod.hostInterface, "monofaint")
    case .right: canvas.line(from.x, from.y, from.x + 21, from.y, style)
    case .left: canvas.line(from.x, from.y, from.x - 21, from.y, style)
    }
  }

  private func drawBridge(_ canvas: inout SVGCanvas, x: Double, y: Double) {
    let inner = width - 2 * Self.inset
    guard let bridge = node.bridge else {
      canvas.rectangle(x, y, inner, Self.bridgeHeight, radius: 8, "card")
      let plugins = "CNI: " + node.plugins.joined(separator: ", ")
      canvas.text(x + inner / 2, y + 28, plugins, "name", .middle)
      return
    }
    canvas.rectangle(x, y, inner, Self.bridgeHeight, radius: 8, "bridge")
    let more = node.bridges.count > 1 ? " and \(node.bridges.count - 1) more" : ""
    canvas.text(x + 14, y + 20, bridge.name + more, "onbridgename")
    canvas.text(x + 14, y + 36, bridge.detail, "onbridge")
    for (index, address) in bridge.addresses.prefix(2).enumerated() {
      canvas.text(x + inner - 14, y + 20 + Double(index) * 16, address, "onbridge", .end)
    }
  }

  private func drawLower(_ canvas: inout SVGCanvas, x: Double, y: Double, bottom: Double) {
    let tall = lowerHeight
    let left = x + Self.inset
    let uplink = x + uplinkOffset
    canvas.line(uplink, y - 28, uplink, bottom + 1, "wire")
    canvas.rectangle(left, y, 250, tall, radius: 8, "card")
    canvas.text(left + 12, y + 21, "routing", "name")
    canvas.text(
      left + 12, y + 39, node.leavesMasqueraded ? "nftables · masquerade to the world" : "nftables · no masquerade",
      "faint")
    for (index, line) in routeLines.enumerated() {
      canvas.text(
        left + 12, y + 57 + Double(index) * 15, TextSize.fitted(line, characters: 36), "monofaint")
    }
    if let tunnel = node.tunnel {
      let box = x + width - Self.inset - 212
      let middle = y + tall / 2
      canvas.line(left + 250, middle, box, middle, "wire")
      canvas.line(x + tunnelOffset, y + tall, x + tunnelOffset, bottom + 1, "tube")
      canvas.rectangle(box, y, 212, tall, radius: 8, "tubebox")
      canvas.text(box + 12, y + 21, tunnel.name, "name")
      canvas.text(box + 12, y + 39, tunnel.detail, "faint")
    }
    let name = node.uplink.isEmpty ? "no uplink" : node.uplink
    canvas.circle(uplink, bottom, 5, "plug")
    canvas.text(uplink + 12, bottom - 14, "\(name)  \(node.addresses.first ?? "")", "mono")
  }
}
