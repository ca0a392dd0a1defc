import Dispatch
import Glibc
import Logging
import NIOCore
import SPDY
import Testing

@testable import Streaming

/// Over a real socket, with a process that the test plays; integration/test_streaming.py has the rest.
@Suite(.serialized) struct ServerTests {
  private func served(
    _ change: (inout StreamingConfiguration) -> Void = { _ in }, _ body: (StreamingServer) async throws -> Void
  ) async throws {
    var configuration = StreamingConfiguration()
    change(&configuration)
    let server = StreamingServer(configuration, logger: Logger(label: "test"))
    do {
      try await body(server)
    } catch {
      await server.close()
      throw error
    }
    await server.close()
  }

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
      let output = try await client.readToEnd()
      #expect(output[5] == "hello")
      #expect(output[1]?.contains("NonZeroExitCode") == true)
    }
  }

  @Test func `streams that nobody asked for are refused`() async throws {
    try await served({ $0.creationTime = .seconds(1) }) { server in
      let process = FakeProcess(.init(stdin: false, stdout: true, stderr: false, tty: false))
      let client = try await SPDYTestClient(url: try await server.url(for: .exec(process)))
      try await client.send(1, ["streamtype": "stdin"])
      try await client.send(3, ["streamtype": "error"])
      try await client.send(5, ["streamtype": "error"])
      try await client.send(7, ["other": "header"])
      // Nothing runs without its streams: the server closes.
      _ = try await client.readToEnd()
      #expect(client.resets.sorted() == [1, 5, 7])
    }
  }

  @Test func `what is no request, too long or too slow gets no further`() async throws {
    try await served({ $0.headTime = .seconds(1) }) { server in
      let url = try await server.url(for: .exec(FakeProcess()))
      #expect(try await ask(url, "GET /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").hasPrefix("HTTP/1.1 404"))
      #expect(try await ask(url, "PUT /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").hasPrefix("HTTP/1.1 405"))
      let body = "POST /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nabcd"
      #expect(try await ask(url, body).hasPrefix("HTTP/1.1 400"))
      let long = "GET /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \(String(repeating: "x", count: 20_000))\r\n\r\n"
      #expect(try await ask(url, long) == "")
      #expect(try await ask(url, "GET /exec/0 HTTP/1.1\r\nHost: 127.0.0.1\r\n") == "")
      #expect(try await ask(url, "\u{16}\u{3}\u{1}") == "")
    }
  }

  @Test func `one connection too many closes at once`() async throws {
    try await served({ $0.connections = 2 }) { server in
      let url = try await server.url(for: .exec(FakeProcess()))
      let held = [try await TestSocket(url), try await TestSocket(url)]
      #expect(try await ask(url, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == "")
      for socket in held { socket.end() }
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

/// A blocking socket, used on threads where that is allowed; every wait ends after ten seconds.
final class TestSocket: Sendable {
  private let descriptor: Int32
  private let queue = DispatchQueue(label: "test socket")
  let path: String

  struct Failure: Error { var call: String, number: Int32 }

  init(_ url: String) async throws {
    let parts = url.dropFirst("http://".count).split(separator: "/", maxSplits: 1)
    let port = UInt16(parts[0].split(separator: ":")[1]) ?? 0
    path = "/" + parts[1]
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw Failure(call: "connect", number: errno) }
  }

  deinit { close(descriptor) }

  func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

  func send(_ bytes: [UInt8]) async throws {
    try await onQueue { [descriptor] in
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes {
          Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        guard count > 0 else { throw Failure(call: "send", number: errno) }
        rest = rest.dropFirst(count)
      }
    }
  }

  /// - Returns: empty at the end.
  func receive() async throws -> [UInt8] {
    try await onQueue { [descriptor] in
      var buffer = [UInt8](repeating: 0, count: 4096)
      let count = recv(descriptor, &buffer, buffer.count, 0)
      guard count >= 0 else { throw Failure(call: "recv", number: errno) }
      return Array(buffer.prefix(count))
    }
  }

  private func onQueue<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Result(catching: body)) }
    }
  }
}

/// The client's side of a SPDY connection, as much of it as the cases need.
final class SPDYTestClient {
  private let socket: TestSocket
  private let encoder: SPDYEncoder
  private var decoder: SPDYDecoder
  private(set) var resets: [UInt32] = []

  init(url: String) async throws {
    socket = try await TestSocket(url)
    (encoder, decoder) = (try SPDYEncoder(), try SPDYDecoder())
    let request = """
      POST \(socket.path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r
      X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n
      """
    try await socket.send(Array(request.utf8))
    var head: [UInt8] = []
    while !String(decoding: head, as: UTF8.self).contains("\r\n\r\n") {
      let bytes = try await socket.receive()
      try #require(!bytes.isEmpty)
      head += bytes
    }
    try #require(String(decoding: head, as: UTF8.self).hasPrefix("HTTP/1.1 101 "))
    try #require(String(decoding: head, as: UTF8.self).hasSuffix("\r\n\r\n"))
  }

  func send(_ frame: ByteBuffer) async throws { try await socket.send(Array(frame.readableBytesView)) }

  func send(_ stream: UInt32, _ headers: [String: String]) async throws {
    try await send(try encoder.synStream(stream, SPDYHeaders(headers)))
  }

  /// What came on each stream until the server closed.
  func readToEnd() async throws -> [UInt32: String] {
    var output: [UInt32: String] = [:]
    while case let bytes = try await socket.receive(), !bytes.isEmpty {
      decoder.append(ByteBuffer(bytes: bytes))
      while let frame = try decoder.next() {
        if case .data(let stream, let bytes, _) = frame { output[stream, default: ""] += String(buffer: bytes) }
        if case .reset(let stream, _) = frame { resets.append(stream) }
      }
    }
    return output
  }
}
