/// The picture as text: a node is a frame, its bridge the double line that its pods hang on. Never wider than 100.
struct TextPicture: Sendable {
  static let width = 100
  /// The bridge's column within a node, and the cards' width.
  private static let bus = 64
  private static let cardWidth = 40

  private let picture: Picture

  init(_ picture: Picture) { self.picture = picture }

  var lines: [String] {
    var lines: [String] = []
    for node in picture.nodes { lines += frame(node) }
    for peer in picture.peers { lines += frame(peer) }
    return lines
  }

  // MARK: a node

  private func frame(_ node: Picture.Node) -> [String] {
    let title = " node \(node.name) "
    let rule = max(0, Self.width - 3 - title.count)
    var lines = ["┌─" + Self.fitted(title, Self.width - 4) + String(repeating: "─", count: rule) + "┐"]
    var beside = bridgeLines(node)[...]
    var content: [(left: String, bus: Character)] = [("", " "), ("", node.bridge == nil ? "│" : "║")]
    for pod in node.pods { content += card(pod, hasBridge: node.bridge != nil) }
    if node.pods.isEmpty { content.append(("no pods", node.bridge == nil ? "│" : "║")) }
    while content.count < beside.count + 2 { content.append(("", node.bridge == nil ? "│" : "║")) }
    for (index, row) in content.enumerated() {
      let right = index == 0 ? "" : beside.popFirst() ?? ""
      lines.append(inside(Self.padded(row.left, Self.bus) + String(row.bus) + "  " + right))
    }
    for way in ways(node) { lines.append(way) }
    lines.append("└" + String(repeating: "─", count: Self.width - 2) + "┘")
    return lines
  }

  private func bridgeLines(_ node: Picture.Node) -> [String] {
    guard let bridge = node.bridge else { return ["CNI"] + node.plugins }
    let more = node.bridges.dropFirst().map(\.name)
    return [bridge.name + (bridge.isUp ? "" : " (down)")] + bridge.addresses
      + bridge.detail.split(separator: ",")
      .map { $0.drop { $0 == " " } }.map(String.init) + more
  }

  private func card(_ pod: Picture.Pod, hasBridge: Bool) -> [(left: String, bus: Character)] {
    let inner = Self.cardWidth - 4
    let empty: Character = hasBridge ? "║" : "│"
    let plug: Character = hasBridge ? "╢" : "┤"
    let title = Self.fitted("\(pod.namespace)/\(pod.name)", inner - 2)
    let head = "┌─ \(title) " + String(repeating: "─", count: Self.cardWidth - 5 - title.count) + "┐"
    var rows: [(left: String, bus: Character)] = [(head, empty)]
    for line in members(pod, inner) { rows.append(("│ \(Self.padded(line, inner)) │", empty)) }
    let address = pod.isHostNetwork ? "the node's network" : pod.addresses.first ?? ""
    if pod.isHostNetwork {
      rows.append(("│ \(Self.padded(address, inner)) │", empty))
    } else {
      let wire = pod.trouble.isEmpty ? "─" : "╌"
      let label = " \(pod.hostInterface) "
      let left = "│ " + Self.padded(Self.fitted("\(pod.interface) \(address)", inner), inner) + " ├"
      let length = Self.bus - Self.cardWidth - 2 - label.count
      let half = max(1, length / 2)
      rows.append(
        (
          left + String(repeating: wire, count: half) + label
            + String(repeating: wire, count: max(1, length - half + 2)), plug
        ))
    }
    for more in pod.addresses.dropFirst() {
      rows.append(("│ \(Self.padded(Self.fitted("     \(more)", inner), inner)) │", empty))
    }
    for port in pod.ports.prefix(4) { rows.append(("│ \(Self.padded("port \(port)", inner)) │", empty)) }
    for trouble in pod.trouble { rows.append(("│ \(Self.padded(Self.fitted("! \(trouble)", inner), inner)) │", empty)) }
    rows.append(("└" + String(repeating: "─", count: Self.cardWidth - 2) + "┘", empty))
    return rows
  }

  /// Pause in dashed marks, containers in brackets, those that have ended in parentheses.
  private func members(_ pod: Picture.Pod, _ width: Int) -> [String] {
    var words = [pod.pausePID == 0 ? "┆pause is gone┆" : "┆pause \(pod.pausePID)┆"]
    words += pod.containers.map { $0.isRunning ? "[\($0.name)]" : "(\($0.name))" }
    var lines = [""]
    for word in words.map({ Self.fitted($0, width) }) {
      let line = lines[lines.count - 1]
      if line.isEmpty {
        lines[lines.count - 1] = word
      } else if line.count + 1 + word.count <= width {
        lines[lines.count - 1] = line + " " + word
      } else {
        lines.append(word)
      }
    }
    return lines
  }

  /// Below the bridge: the ways to other nodes and to the world, which leave the frame.
  private func ways(_ node: Picture.Node) -> [String] {
    let end: Character = node.bridge == nil ? "│" : "║"
    var ways: [(glyph: String, text: String)] = node.routes.map { route in
      let device = route.backend == "vxlan" ? node.tunnel?.name ?? "vxlan" : node.uplink
      let missing = route.isPresent ? "" : " (route missing)"
      return (route.backend == "vxlan" ? "═" : "─", "\(device): \(route.destination) on \(route.peer)\(missing)")
    }
    let source = node.addresses.first ?? ""
    ways.append(
      (
        "─",
        node.uplink.isEmpty
          ? "no way to the world"
          : "\(node.uplink) \(source): the world" + (node.leavesMasqueraded ? ", masquerade" : "")
      ))
    var lines: [String] = []
    for (index, way) in ways.enumerated() {
      let isLast = index == ways.count - 1
      let corner: Character = isLast ? (end == "║" ? "╙" : "└") : (end == "║" ? "╟" : "├")
      let text = Self.fitted(way.text, Self.bus - 4)
      let line = Self.padded(" " + text, Self.bus)
      lines.append("│ " + line + String(corner) + String(repeating: way.glyph, count: Self.width - Self.bus - 4) + "▶")
    }
    return lines
  }

  // MARK: a peer

  private func frame(_ peer: Picture.Peer) -> [String] {
    let title = " node \(peer.name) (\(peer.state)) "
    let shown = Self.fitted(title, Self.width - 4)
    let rule = String(repeating: "┄", count: max(0, Self.width - 3 - shown.count))
    let path = "\(peer.backend) via \(peer.addresses.joined(separator: ", "))"
    return [
      "┌┄" + shown + rule + "┐",
      inside(Self.fitted("\(peer.podCIDRs.joined(separator: "  "))   \(path)", Self.width - 4)),
      "└" + String(repeating: "┄", count: Self.width - 2) + "┘",
    ]
  }

  // MARK: pieces

  private func inside(_ text: String) -> String {
    "│ " + Self.padded(Self.fitted(text, Self.width - 4), Self.width - 4) + " │"
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func fitted(_ text: String, _ width: Int) -> String { TextSize.fitted(text, characters: width) }
}
