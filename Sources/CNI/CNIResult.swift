internal import Glibc

/// What the last plugin of a chain says it has made (CNI specification, section 5, 0.3.1 and later).
package struct CNIResult: Sendable, Equatable {
  /// Of the pod's interface, without prefix, in the plugin's order.
  package var addresses: [String]
  package var gateway: String
  package var mac: String
  /// The node's end, where a plugin names one.
  package var hostInterface: String
  /// A bridge or other master, where a plugin names one.
  package var bridge: String

  /// - Throws: what is wrong with it, in words.
  init(_ answer: JSON, interface: String, namespace: String) throws(ResultProblem) {
    guard answer.object != nil else { throw ResultProblem("its answer is no JSON object") }
    let interfaces = answer["interfaces"]?.array ?? []
    let inside = interfaces.firstIndex { $0["sandbox"]?.string == namespace && $0["name"]?.string == interface }
    mac = inside.flatMap { interfaces[$0]["mac"]?.string } ?? ""
    let outside = interfaces.filter { ($0["sandbox"]?.string ?? "").isEmpty }.compactMap { $0["name"]?.string }
    hostInterface = outside.last ?? ""
    bridge = outside.count > 1 ? outside[0] : ""
    addresses = []
    gateway = ""
    for entry in answer["ips"]?.array ?? [] {
      if let owner = entry["interface"]?.int, let inside, owner != inside { continue }
      let text = entry["address"]?.string ?? ""
      guard let address = Self.address(text) else {
        throw ResultProblem("\"\(text)\" in ips is no address with a prefix")
      }
      addresses.append(address)
      if gateway.isEmpty { gateway = entry["gateway"]?.string ?? "" }
    }
    guard !addresses.isEmpty else { throw ResultProblem("its result has no address for \(interface)") }
  }

  /// The address of `10.1.2.3/24`.
  private static func address(_ text: String) -> String? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let prefix = Int(parts[1]) else { return nil }
    let address = String(parts[0])
    var bytes = [UInt8](repeating: 0, count: 16)
    if inet_pton(AF_INET, address, &bytes) == 1 { return (0...32).contains(prefix) ? address : nil }
    if inet_pton(AF_INET6, address, &bytes) == 1 { return (0...128).contains(prefix) ? address : nil }
    return nil
  }
}

/// Why an answer is no result.
struct ResultProblem: Error, Equatable {
  var text: String
  init(_ text: String) { self.text = text }
}
