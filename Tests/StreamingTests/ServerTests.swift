import Glibc
import NIOCore
import SPDY
import Testing

@testable import Streaming

/// Over a real socket, with a process that the test plays; integration/test_streaming.py has the rest.
@Suite(.serialized) struct ServerTests {
  @Test func `a command over SPDY has its output, its input and its exit code`() async throws {
    try await served { server in
      let process = FakeProcess(.init(stdin: true, stdout: true, stderr: false, tty: false)) { stdin, stdout, _ in
        var buffer = [UInt8](repeating: 0, count: 64)
        while case let count = read(stdin, &buffer, 64), count > 0 { write(stdout, buffer, count) }
        return 3
      }
      let client = try await SPDYTestClient(url: try await server.url(for: .exec(process)))
      try await client.send(1, ["streamtype": "error"])
      try await client.send(3, ["streamtype": "stdin"])
      try await client.send(5, ["streamtype": "stdout"])
      try await client.send(SPDYEncoder.data(3, ByteBuffer(string: "hello"), isLast: true))
      try await client.readToEnd()
      #expect(client.output[5] == "hello")
      #expect(client.output[1]?.contains("NonZeroExitCode") == true)
    }
  }

  @Test func `streams that nobody asked for are refused`() async throws {
    try await served({ $0.creationTime = .seconds(3) }) { server in
      let process = FakeProcess(.init(stdin: false, stdout: true, stderr: false, tty: false))
      let client = try await SPDYTestClient(url: try await server.url(for: .exec(process)))
      try await client.send(1, ["streamtype": "stdin"])
      try await client.send(3, ["streamtype": "error"])
      try await client.send(5, ["streamtype": "error"])
      try await client.send(7, ["other": "header"])
      // Nothing runs without its streams: the server closes.
      try await client.readToEnd()
      #expect(client.resets.sorted() == [1, 5, 7])
    }
  }

  @Test func `what is no request, too long or too slow gets no further`() async throws {
    try await served { server in
      let url = try await server.url(for: .exec(FakeProcess()))
      #expect(try await ask(url, "GET /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").hasPrefix("HTTP/1.1 404"))
      #expect(try await ask(url, "PUT /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").hasPrefix("HTTP/1.1 405"))
      let body = "POST /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nabcd"
      #expect(try await ask(url, body).hasPrefix("HTTP/1.1 400"))
      let long = "GET /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \(String(repeating: "x", count: 20_000))\r\n\r\n"
      #expect(try await ask(url, long) == "")
    }
    try await served({ $0.headTime = .seconds(1) }) { server in
      let url = try await server.url(for: .exec(FakeProcess()))
      #expect(try await ask(url, "GET /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n") == "")
      #expect(try await ask(url, "\u{16}\u{3}\u{1}") == "")
    }
  }

  @Test func `whoever holds connections without a token keeps nobody out`() async throws {
    try await served({ $0.strangers = 4 }) { server in
      let url = try await server.url(
        for: .exec(FakeProcess(.init(stdin: false, stdout: true, stderr: false, tty: false))))
      let held = try await [TestSocket(url), TestSocket(url), TestSocket(url), TestSocket(url)]
      let client = try await SPDYTestClient(url: url)
      try await client.send(1, ["streamtype": "error"])
      try await client.send(3, ["streamtype": "stdout"])
      try await client.readToEnd()
      #expect(client.output[1]?.contains("Success") == true)
      // The one that came first made room.
      #expect(try await held[0].receive().isEmpty)
      for socket in held { socket.end() }
    }
  }

  @Test func `one session too many is refused in words`() async throws {
    try await served({ $0.connections = 1 }) { server in
      let first = try await SPDYTestClient(url: try await server.url(for: .exec(FakeProcess())))
      let url = try await server.url(for: .exec(FakeProcess()))
      let request = SPDYTestClient.request(try await TestSocket(url).path)
      #expect(try await ask(url, request).hasPrefix("HTTP/1.1 503"))
      first.end()
    }
  }

  /// To the gate an upgrade, to the decoder of HTTP none: it goes on, and hands out what is no longer asked for.
  @Test func `a request behind one that only we take for an upgrade ends no more than its connection`() async throws {
    try await served { server in
      let url = try await server.url(for: .exec(FakeProcess()))
      let path = try await TestSocket(url).path
      let request = SPDYTestClient.request(path).replacing("Connection: Upgrade", with: "Connection: Upgrade\t")
      let answer = try await ask(url, request + "GET /second HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
      #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 101"))
      #expect(try await ask(url, "GET /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").hasPrefix("HTTP/1.1 404"))
    }
  }

  private func ask(_ url: String, _ request: String) async throws -> String {
    let socket = try await TestSocket(url)
    defer { socket.end() }
    try? await socket.send(Array(request.utf8))
    var text: [UInt8] = []
    while let bytes = try? await socket.receive(), !bytes.isEmpty { text += bytes }
    return String(decoding: text, as: UTF8.self)
  }
}
