/// The picture as SVG: nodes side by side, what connects them below, and the world below that.
struct SVGPicture: Sendable {
  private static let margin = 32.0
  private static let nodeSpacing = 36.0
  private static let peerWidth = 232.0
  private static let underlayHeight = 34.0

  private let picture: Picture
  private let nodes: [SVGNode]

  init(_ picture: Picture) {
    self.picture = picture
    let isOneOfMany = picture.nodes.count > 1
    nodes = picture.nodes.map { SVGNode($0, isOneOfMany: isOneOfMany) }
  }

  private var nodeHeight: Double { max(nodes.map(\.height).max() ?? 0, min(peerStack, 560)) }

  /// Height of all peers on top of each other.
  private var peerStack: Double { Double(picture.peers.count) * 96 - 16 }

  private var peersPerColumn: Int { max(1, Int((nodeHeight + 16) / 96)) }

  private var peerColumns: Int { (picture.peers.count + peersPerColumn - 1) / peersPerColumn }

  private var width: Double {
    let all = nodes.reduce(0.0) { $0 + $1.width } + Double(max(0, nodes.count - 1)) * Self.nodeSpacing
    return all + Double(peerColumns) * (Self.peerWidth + Self.nodeSpacing) + 2 * Self.margin
  }

  /// The legend does not fit beside the world.
  private var isNarrow: Bool { width < 900 }

  var document: String {
    var canvas = SVGCanvas()
    let bottom = Self.margin + nodeHeight
    let underlay = bottom + 56
    let tube = bottom + 28
    // Wires first, so that boxes lie over their ends.
    var x = Self.margin
    var ends: (uplinks: [Double], tunnels: [Double]) = ([], [])
    for node in nodes {
      ends.uplinks.append(x + node.uplinkOffset)
      if node.node.tunnel != nil { ends.tunnels.append(x + node.tunnelOffset) }
      x += node.width + Self.nodeSpacing
    }
    for uplink in ends.uplinks { canvas.line(uplink, bottom, uplink, underlay, "wire") }
    let peers = drawPeers(&canvas, x: x, bottom: bottom, underlay: underlay, tube: tube)
    let crossings = ends.uplinks + (picture.peers.isEmpty ? [] : [x - 14])
    drawTube(&canvas, ends.tunnels + peers, crossing: crossings, bottom: bottom, y: tube)
    drawUnderlay(&canvas, y: underlay)
    drawWorld(&canvas, y: underlay + Self.underlayHeight)
    let world = underlay + Self.underlayHeight + 176
    drawLegend(&canvas, y: isNarrow ? world : world - 146)
    x = Self.margin
    for node in nodes {
      node.draw(&canvas, x: x, y: Self.margin, height: nodeHeight)
      x += node.width + Self.nodeSpacing
    }
    return canvas.document(width: width, height: isNarrow ? world + 124 : world, title: title)
  }

  private var title: String {
    let pods = picture.nodes.reduce(0) { $0 + $1.pods.count }
    let names = picture.nodes.map(\.name).joined(separator: ", ")
    return "Pod network of \(names): \(pods) pods, \(picture.peers.count) further nodes"
  }

  /// - Returns: where peers take part in the tunnel.
  private func drawPeers(
    _ canvas: inout SVGCanvas, x: Double, bottom: Double, underlay: Double, tube: Double
  ) -> [Double] {
    var tunnels: [Double] = []
    for column in 0..<peerColumns {
      let left = x + Double(column) * (Self.peerWidth + Self.nodeSpacing)
      let first = column * peersPerColumn
      let peers = picture.peers[first..<min(first + peersPerColumn, picture.peers.count)]
      let top = bottom - Double(peers.count) * 96 + 16
      canvas.path(
        "M\(SVGCanvas.number(left)) \(SVGCanvas.number(top + 40))h-14V\(SVGCanvas.number(underlay))", "wire")
      if picture.hasTunnel, peers.contains(where: { $0.backend == "vxlan" }) {
        tunnels.append(left + Self.peerWidth - 40)
        canvas.line(left + Self.peerWidth - 40, bottom, left + Self.peerWidth - 40, tube, "tube")
      }
      for (index, peer) in peers.enumerated() { drawPeer(&canvas, peer, x: left, y: top + Double(index) * 96) }
    }
    return tunnels
  }

  private func drawPeer(_ canvas: inout SVGCanvas, _ peer: Picture.Peer, x: Double, y: Double) {
    canvas.line(x - 14, y + 40, x, y + 40, "wire")
    canvas.rectangle(x, y, Self.peerWidth, 80, radius: 10, "frame")
    canvas.text(x + 14, y + 23, "node " + TextSize.fitted(peer.name, characters: 17), "name")
    let style = peer.state == "live" ? "runtext" : "trouble"
    canvas.text(x + Self.peerWidth - 14, y + 23, peer.state, "chip \(style)", .end)
    canvas.text(x + 14, y + 42, peer.podCIDRs.prefix(2).joined(separator: "  "), "monofaint")
    let path = [peer.backend, peer.addresses.first.map { "via \($0)" }].compactMap(\.self).joined(separator: " ")
    canvas.text(x + 14, y + 61, path, "monofaint")
  }

  /// - Parameter crossings: where wires cross it, which its label keeps clear of.
  private func drawTube(
    _ canvas: inout SVGCanvas, _ ends: [Double], crossing crossings: [Double], bottom: Double, y: Double
  ) {
    guard let first = ends.min(), let last = ends.max() else { return }
    for end in ends { canvas.line(end, bottom, end, y, "tube") }
    canvas.line(first, y, last, y, "tube")
    guard last > first else { return }
    let detail = picture.tunnelDetail
    let label = TextSize.width(detail, size: 11.5) + 24
    let marks = (ends + crossings.filter { $0 > first && $0 < last }).sorted()
    let gap = zip(marks, marks.dropFirst()).max { $0.1 - $0.0 < $1.1 - $1.0 } ?? (first, last)
    let middle = (gap.0 + gap.1) / 2
    canvas.rectangle(middle - label / 2, y - 12, label, 24, radius: 12, "tubebox")
    canvas.text(middle, y + 4, detail, "tubetext", .middle)
  }

  private func drawUnderlay(_ canvas: inout SVGCanvas, y: Double) {
    canvas.rectangle(Self.margin, y, width - 2 * Self.margin, Self.underlayHeight, radius: 17, "underlay")
    let direct = picture.nodes.flatMap(\.routes).contains { $0.backend == "host-gw" }
    let text =
      picture.peers.isEmpty && picture.nodes.count == 1
      ? "the node's network"
      : "the nodes' network" + (direct ? ": one route per node, no tunnel, no translation" : "")
    canvas.text(width / 2, y + 22, text, "body", .middle)
  }

  private func drawWorld(_ canvas: inout SVGCanvas, y: Double) {
    let x = width / 2
    let top = y + 82
    canvas.line(x, y, x, top, "wire")
    let cloud =
      "M\(SVGCanvas.number(x - 74)) \(SVGCanvas.number(top + 66))a30 30 0 0 1 -4 -60a46 46 0 0 1 84 -22"
      + "a36 36 0 0 1 66 20a31 31 0 0 1 4 62z"
    canvas.path(cloud, "cloud")
    canvas.text(x, top + 38, "the world", "name", .middle)
    let leaving = picture.nodes.filter(\.leavesMasqueraded).compactMap(\.addresses.first)
    if !leaving.isEmpty {
      let shown = leaving.prefix(3).joined(separator: ", ") + (leaving.count > 3 ? " …" : "")
      canvas.text(x + 14, y + 26, "sees pods as \(shown) (masquerade)", "faint")
    }
  }

  /// What the marks mean, for who sees such a picture for the first time.
  private func drawLegend(_ canvas: inout SVGCanvas, y: Double) {
    let x = Self.margin
    let text = x + 76
    canvas.rectangle(x + 4, y, 54, 22, radius: 11, "pausebox")
    canvas.text(x + 31, y + 15, "pause", "chip pausetext", .middle)
    canvas.text(text, y + 15, "hidden; holds the pod's namespaces", "faint")
    canvas.rectangle(x + 4, y + 31, 54, 20, radius: 4, "namespacebox")
    canvas.text(text, y + 45, "a network namespace, its containers' own", "faint")
    canvas.line(x + 9, y + 71, x + 53, y + 71, "veth")
    canvas.circle(x + 9, y + 71, 5, "plug")
    canvas.circle(x + 53, y + 71, 5, "plug")
    canvas.text(text, y + 75, "a veth pair", "faint")
    guard picture.hasTunnel else { return }
    canvas.line(x + 4, y + 97, x + 58, y + 97, "tube")
    canvas.text(text, y + 101, "a tunnel", "faint")
  }
}
