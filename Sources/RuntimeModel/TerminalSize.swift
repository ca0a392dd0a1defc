/// Columns and rows of a terminal. In JSON it has the form of the resize channels of kubelet's streaming protocols.
package struct TerminalSize: Sendable, Hashable, Codable {
  package var width: UInt16
  package var height: UInt16

  package init(width: UInt16, height: UInt16) {
    self.width = width
    self.height = height
  }

  private enum CodingKeys: String, CodingKey {
    case width = "Width"
    case height = "Height"
  }
}
