import Crypto
import FoundationEssentials
import NIOHTTP1

/// What becomes of a request.
enum Admission: Sendable {
  /// - Parameter text: for a person.
  case refused(HTTPResponseStatus, HTTPHeaders = [:], text: String)
  case accepted(HTTPHeaders, Upgrade)
}

/// What is spoken after the 101.
enum Upgrade: Sendable {
  /// With the sub-protocol's name.
  case spdy(String, StreamTarget)
  case webSocket(String, StreamTarget)
}

/// Looks at requests (CRI.md 5.1, 5.2, 5.4). Each names one token, which it uses up whatever becomes of it then.
struct Gate: Sendable {
  let tokens: TokenTable

  static let spdy = "SPDY/3.1"
  static let protocolHeader = "X-Stream-Protocol-Version"
  static let acceptedHeader = "X-Accepted-Stream-Protocol-Versions"

  func admit(_ request: HTTPRequestHead) -> Admission {
    guard request.method == .GET || request.method == .POST else {
      return .refused(.methodNotAllowed, ["Allow": "GET, POST"], text: "only GET and POST lead to a stream")
    }
    guard isFromHere(request.headers) else {
      return .refused(.forbidden, text: "the Host or the Origin of the request is not this server")
    }
    let parts = request.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)[0]
      .split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0].isEmpty, let kind = StreamTarget.Kind(rawValue: String(parts[1])),
      let target = tokens.redeem(String(parts[2]), kind: kind)
    else { return .refused(.notFound, text: "unknown, used or expired token") }
    guard request.headers[canonicalForm: "Connection"].contains(where: { $0.lowercased() == "upgrade" }) else {
      return .refused(.badRequest, text: "Connection: Upgrade is missing")
    }
    let upgrades = request.headers[canonicalForm: "Upgrade"].map { $0.lowercased() }
    if upgrades.contains(Self.spdy.lowercased()) { return spdy(request.headers, target) }
    if upgrades.contains("websocket") { return webSocket(request, target) }
    return .refused(.badRequest, text: "Upgrade is neither \(Self.spdy) nor websocket")
  }

  private func spdy(_ headers: HTTPHeaders, _ target: StreamTarget) -> Admission {
    let offered = Self.list(headers, Self.protocolHeader)
    guard !offered.isEmpty else { return .refused(.badRequest, text: "\(Self.protocolHeader) is missing") }
    let known = Subprotocols.spdy(target.kind)
    guard let chosen = offered.first(where: known.contains) else { return Self.noCommon(known) }
    return .accepted(
      ["Connection": "Upgrade", "Upgrade": Self.spdy, Self.protocolHeader: chosen], .spdy(chosen, target))
  }

  private func webSocket(_ request: HTTPRequestHead, _ target: StreamTarget) -> Admission {
    let headers = request.headers
    guard request.method == .GET else { return .refused(.methodNotAllowed, ["Allow": "GET"], text: "only GET") }
    guard headers[canonicalForm: "Sec-WebSocket-Version"].map(String.init) == ["13"] else {
      return .refused(.upgradeRequired, ["Sec-WebSocket-Version": "13"], text: "only version 13 of WebSocket")
    }
    guard let key = headers.first(name: "Sec-WebSocket-Key"), Data(base64Encoded: key)?.count == 16 else {
      return .refused(.badRequest, text: "Sec-WebSocket-Key is not 16 bytes in base64")
    }
    let offered = Self.list(headers, "Sec-WebSocket-Protocol")
    let known = Subprotocols.webSocket(target.kind)
    var answer: HTTPHeaders = ["Connection": "Upgrade", "Upgrade": "websocket"]
    // RFC 6455, 4.2.2: the key with a constant.
    let digest = Insecure.SHA1.hash(data: Data((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8))
    answer.add(name: "Sec-WebSocket-Accept", value: Data(digest).base64EncodedString())
    guard !offered.isEmpty else {
      guard known.contains("") else { return Self.noCommon(known) }
      return .accepted(answer, .webSocket("", target))
    }
    guard let chosen = offered.first(where: known.contains) else { return Self.noCommon(known) }
    answer.add(name: "Sec-WebSocket-Protocol", value: chosen)
    return .accepted(answer, .webSocket(chosen, target))
  }

  private static func noCommon(_ known: [String]) -> Admission {
    let names = known.filter { !$0.isEmpty }
    return .refused(
      .forbidden, HTTPHeaders(names.map { (acceptedHeader, $0) }), text: "no common protocol; there are \(names)")
  }

  /// All values of all headers of a name, in their order.
  private static func list(_ headers: HTTPHeaders, _ name: String) -> [String] {
    headers[canonicalForm: name].map(String.init).filter { !$0.isEmpty }
  }

  /// Keeps web pages out: a browser names the page's site. A kubelet hands on what browsers far away told the API server,
  /// and says so by a header that no page can put into the opening of a WebSocket.
  private func isFromHere(_ headers: HTTPHeaders) -> Bool {
    let hosts = headers["Host"]
    guard hosts.count == 1, !hosts[0].isEmpty else { return false }
    if headers.contains(name: "X-Forwarded-For") { return true }
    guard HostName.isNumberOrLocal(hosts[0]) else { return false }
    return headers["Origin"].allSatisfy { $0.lowercased() == "http://\(hosts[0].lowercased())" }
  }
}

/// Whether a Host cannot be a name that somebody else's DNS leads here.
enum HostName {
  static func isNumberOrLocal(_ host: String) -> Bool {
    if host.hasPrefix("[") {
      guard let end = host.lastIndex(of: "]") else { return false }
      let address = host[host.index(after: host.startIndex)..<end]
      return !address.isEmpty && address.allSatisfy { $0.isHexDigit || $0 == ":" || $0 == "." }
        && isPort(host[host.index(after: end)...])
    }
    let parts = host.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let name = parts[0].lowercased()
    guard parts.count == 1 || isPort(":" + parts[1]) else { return false }
    if name == "localhost" { return true }
    let numbers = name.split(separator: ".", omittingEmptySubsequences: false)
    return numbers.count == 4 && numbers.allSatisfy { UInt8($0) != nil }
  }

  private static func isPort(_ text: some StringProtocol) -> Bool {
    text.isEmpty || (text.first == ":" && UInt16(text.dropFirst()) != nil)
  }
}

/// The sub-protocols of each transport, best first.
enum Subprotocols {
  static let portForward = "portforward.k8s.io"
  static let tunnel = "SPDY/3.1+portforward.k8s.io"

  static func spdy(_ kind: StreamTarget.Kind) -> [String] {
    switch kind {
    case .exec, .attach: ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"]
    case .portForward: [portForward]
    }
  }

  static func webSocket(_ kind: StreamTarget.Kind) -> [String] {
    switch kind {
    case .exec, .attach:
      [
        "v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io",
        "base64.channel.k8s.io", "",
      ]
    case .portForward: [tunnel]
    }
  }
}
