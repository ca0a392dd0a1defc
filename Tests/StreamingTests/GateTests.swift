import NIOHTTP1
import Testing

@testable import Streaming

struct GateTests {
  private let tokens = TokenTable(life: .seconds(60), limit: 10)

  private func admit(
    _ headers: [(String, String)], kind: StreamTarget.Kind = .exec, method: HTTPMethod = .GET, path: String? = nil
  ) throws -> Admission {
    let target: StreamTarget =
      switch kind {
      case .exec: .exec(FakeProcess())
      case .attach: .attach(FakeProcess())
      case .portForward: .portForward(FakePorts())
      }
    let token = try tokens.issue(target)
    defer { _ = tokens.redeem(token, kind: kind) }
    let uri = path?.replacing("TOKEN", with: token) ?? "/\(kind.rawValue)/\(token)"
    let all = headers.contains { $0.0 == "Host" } ? headers : [("Host", "127.0.0.1:1234")] + headers
    return Gate(tokens: tokens).admit(
      HTTPRequestHead(version: .http1_1, method: method, uri: uri, headers: HTTPHeaders(all)))
  }

  private static func spdy(_ names: String...) -> [(String, String)] {
    [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")] + names.map { ("X-Stream-Protocol-Version", $0) }
  }

  private static func webSocket(_ names: String...) -> [(String, String)] {
    [
      ("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
      ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] + names.map { ("Sec-WebSocket-Protocol", $0) }
  }

  private func status(_ admission: Admission) -> UInt {
    if case .refused(let status, _, _) = admission { status.code } else { 101 }
  }

  private func upgrade(_ admission: Admission) -> String {
    switch admission {
    case .accepted(_, .spdy(let name, _)): "spdy \(name)"
    case .accepted(_, .webSocket(let name, _)): "webSocket \(name)"
    case .refused(let status, _, _): "\(status.code)"
    }
  }

  @Test func `paths, methods and headers that lead nowhere`() throws {
    let good = Self.spdy("v4.channel.k8s.io")
    #expect(status(try admit(good)) == 101)
    #expect(status(try admit(good, method: .POST)) == 101)
    #expect(status(try admit(good, path: "/exec/TOKEN?tty=1")) == 101)
    for method: HTTPMethod in [.PUT, .DELETE, .HEAD, .OPTIONS, .CONNECT] {
      #expect(status(try admit(good, method: method)) == 405)
    }
    for path in ["/exec/x", "/exec", "/", "/attach/TOKEN", "/Exec/TOKEN", "/exec/TOKEN/", "//exec/TOKEN", "exec/TOKEN"]
    {
      #expect(status(try admit(good, path: path)) == 404, "\(path)")
    }
    #expect(status(try admit([])) == 400)
    #expect(status(try admit([("Connection", "Upgrade")])) == 400)
    #expect(status(try admit([("Connection", "Upgrade"), ("Upgrade", "h2c")])) == 400)
    #expect(status(try admit(Self.spdy())) == 400)
    #expect(status(try admit(Self.webSocket(), method: .POST)) == 405)
  }

  @Test func `the first of the client's protocols that is known is taken`() throws {
    let rows: [(StreamTarget.Kind, [(String, String)], String)] = [
      (.exec, Self.spdy("v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"), "spdy v4.channel.k8s.io"),
      (.attach, Self.spdy("v2.channel.k8s.io, channel.k8s.io"), "spdy v2.channel.k8s.io"),
      (.portForward, Self.spdy("portforward.k8s.io"), "spdy portforward.k8s.io"),
      (.exec, Self.spdy("v9.channel.k8s.io"), "403"), (.portForward, Self.spdy("v4.channel.k8s.io"), "403"),
      (.exec, Self.webSocket("v5.channel.k8s.io"), "webSocket v5.channel.k8s.io"),
      (.exec, Self.webSocket("x, base64.channel.k8s.io, channel.k8s.io"), "webSocket base64.channel.k8s.io"),
      (.exec, Self.webSocket(), "webSocket "), (.exec, Self.webSocket("v9.channel.k8s.io"), "403"),
      (.portForward, Self.webSocket("SPDY/3.1+portforward.k8s.io"), "webSocket SPDY/3.1+portforward.k8s.io"),
      (.portForward, Self.webSocket(), "403"),
    ]
    for (kind, headers, expected) in rows { #expect(upgrade(try admit(headers, kind: kind)) == expected) }
    guard case .refused(_, let headers, _) = try admit(Self.spdy("v9.channel.k8s.io")) else { return }
    #expect(headers["X-Accepted-Stream-Protocol-Versions"].count == 4)
  }

  /// RFC 6455, 1.3.
  @Test func `the answer to a WebSocket key is the RFC's`() throws {
    guard case .accepted(let headers, _) = try admit(Self.webSocket("v4.channel.k8s.io")) else {
      Issue.record("refused")
      return
    }
    #expect(headers["Sec-WebSocket-Accept"] == ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="])
    #expect(headers["Sec-WebSocket-Protocol"] == ["v4.channel.k8s.io"])
    var short = Self.webSocket("v4.channel.k8s.io")
    short[3].1 = "AAAA"
    #expect(status(try admit(short)) == 400)
    var old = Self.webSocket("v4.channel.k8s.io")
    old[2].1 = "8"
    #expect(status(try admit(old)) == 426)
  }

  @Test func `web pages stay out, and kubelets come in`() throws {
    let rows: [([(String, String)], UInt)] = [
      ([("Host", "127.0.0.1:1234")], 101), ([("Host", "localhost:1")], 101), ([("Host", "[::1]:1")], 101),
      ([("Host", "[fe80::1]")], 101), ([("Host", "attacker.example:1234")], 403), ([("Host", "")], 403),
      ([("Host", "127.0.0.1.attacker.example")], 403), ([("Host", "1.2.3.4:x")], 403), ([("Host", "[attacker]")], 403),
      ([("Host", "127.0.0.1"), ("Host", "127.0.0.1")], 403),
      ([("Host", "127.0.0.1:1"), ("Origin", "http://127.0.0.1:1")], 101),
      ([("Host", "127.0.0.1:1"), ("Origin", "https://attacker.example")], 403),
      ([("Host", "127.0.0.1:1"), ("Origin", "null")], 403),
      ([("Host", "node1:10250"), ("Origin", "https://console.example"), ("X-Forwarded-For", "10.0.0.1")], 101),
    ]
    for (headers, expected) in rows {
      #expect(status(try admit(headers + Self.spdy("v4.channel.k8s.io"))) == expected, "\(headers)")
    }
  }
}
