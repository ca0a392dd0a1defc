import Dispatch
import Glibc
import LinuxSystem
import Logging
import NIOCore
import SPDY
import Testing

@testable import Streaming

/// A server for the time of `body`.
func served(
  _ change: (inout StreamingConfiguration) -> Void = { _ in }, _ body: (StreamingServer) async throws -> Void
) async throws {
  var configuration = StreamingConfiguration()
  change(&configuration)
  let server = StreamingServer(configuration, exits: try ExitWatcher(), logger: Logger(label: "test"))
  do {
    try await body(server)
  } catch {
    await server.close()
    throw error
  }
  await server.close()
}

/// A blocking socket, used on threads where that is allowed; every wait ends after a minute.
final class TestSocket: Sendable {
  private let descriptor: Int32
  private let queue = DispatchQueue(label: "test socket")
  let path: String

  struct Failure: Error { var call: String, number: Int32 }

  /// - Parameter receiveBuffer: of the kernel's, in bytes; nil: as it likes.
  init(_ url: String, receiveBuffer: Int32? = nil) async throws {
    let parts = url.dropFirst("http://".count).split(separator: "/", maxSplits: 1)
    let port = UInt16(parts[0].split(separator: ":")[1]) ?? 0
    path = "/" + parts[1]
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var limit = timeval(tv_sec: 60, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    if var bytes = receiveBuffer {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
    }
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

  /// Both in network byte order.
  var localPort: UInt16 { port(of: descriptor, getsockname) }
  var remotePort: UInt16 { port(of: descriptor, getpeername) }

  func end() { shutdown(descriptor, Int32(SHUT_RDWR)) }

  func send(_ bytes: [UInt8]) async throws {
    try await onQueue { [descriptor] in
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes {
          Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        // With a limit of time, which a stop and a continuation of the process interrupt (signal(7)).
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw Failure(call: "send", number: errno) }
        rest = rest.dropFirst(count)
      }
    }
  }

  /// - Returns: empty at the end.
  func receive(_ limit: Int = 4096) async throws -> [UInt8] {
    try await onQueue { [descriptor] in
      var buffer = [UInt8](repeating: 0, count: limit)
      var count: Int
      repeat { count = recv(descriptor, &buffer, buffer.count, 0) } while count < 0 && errno == EINTR
      guard count >= 0 else { throw Failure(call: "recv", number: errno) }
      return Array(buffer.prefix(count))
    }
  }

  /// - Throws: when the answer is no 101.
  func upgrade(_ request: String) async throws {
    try await send(Array(request.utf8))
    var head: [UInt8] = []
    // One by one: what comes behind the head belongs to the protocol that comes.
    while !head.suffix(4).elementsEqual("\r\n\r\n".utf8) {
      let bytes = try await receive(1)
      try #require(!bytes.isEmpty)
      head += bytes
    }
    try #require(String(decoding: head, as: UTF8.self).hasPrefix("HTTP/1.1 101 "))
  }

  private func onQueue<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Result(catching: body)) }
    }
  }
}

/// Of one of a socket's two ends, in network byte order; 0 where it is none.
func port(
  of descriptor: Int32, _ call: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
) -> UInt16 {
  var address = sockaddr_in()
  var size = socklen_t(MemoryLayout<sockaddr_in>.size)
  let result = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { call(descriptor, $0, &size) }
  }
  return result == 0 && address.sin_family == sa_family_t(AF_INET) ? address.sin_port : 0
}

/// The client's side of a SPDY connection, as much of it as the cases need.
final class SPDYTestClient {
  let socket: TestSocket
  private let encoder: SPDYEncoder
  private var decoder: SPDYDecoder
  private(set) var resets: [UInt32] = []
  /// What came on each stream.
  private(set) var output: [UInt32: String] = [:]

  static func request(_ path: String, version: String = "v4.channel.k8s.io") -> String {
    """
    POST \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r
    X-Stream-Protocol-Version: \(version)\r\n\r\n
    """
  }

  init(url: String, version: String = "v4.channel.k8s.io", receiveBuffer: Int32? = nil) async throws {
    socket = try await TestSocket(url, receiveBuffer: receiveBuffer)
    (encoder, decoder) = (try SPDYEncoder(), try SPDYDecoder())
    try await socket.upgrade(Self.request(socket.path, version: version))
  }

  func end() { socket.end() }

  func send(_ frame: ByteBuffer) async throws { try await socket.send(Array(frame.readableBytesView)) }

  func send(_ stream: UInt32, _ headers: [String: String]) async throws {
    try await send(try encoder.synStream(stream, SPDYHeaders(headers)))
  }

  /// Until the server closes.
  func readToEnd() async throws { while try await take() {} }

  /// - Throws: when the server has closed before.
  func read(until isThere: (SPDYTestClient) -> Bool) async throws {
    while !isThere(self) { try #require(try await take(), "\(output) \(resets)") }
  }

  private func take() async throws -> Bool {
    let bytes = try await socket.receive()
    decoder.append(ByteBuffer(bytes: bytes))
    while let frame = try decoder.next() {
      if case .data(let stream, let bytes, _) = frame { output[stream, default: ""] += String(buffer: bytes) }
      if case .reset(let stream, _) = frame { resets.append(stream) }
    }
    return !bytes.isEmpty
  }
}

/// The client's side of a WebSocket of `v5.channel.k8s.io`.
final class WebSocketTestClient {
  private let socket: TestSocket
  private var buffer: ArraySlice<UInt8> = []
  /// What came on each channel.
  private(set) var output: [UInt8: String] = [:]

  init(url: String) async throws {
    socket = try await TestSocket(url)
    try await socket.upgrade(
      """
      GET \(socket.path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
      Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n
      """)
  }

  /// - Parameter text: fewer than 125 bytes.
  func send(_ channel: UInt8, _ text: String) async throws {
    // The mask is zero.
    try await socket.send([0x82, 0x80 | UInt8(1 + text.utf8.count), 0, 0, 0, 0, channel] + Array(text.utf8))
  }

  /// Until the server closes.
  func readToEnd() async throws { while try await take() {} }

  /// - Throws: when the server has closed before.
  func read(until isThere: (WebSocketTestClient) -> Bool) async throws {
    while !isThere(self) { try #require(try await take(), "\(output)") }
  }

  private func take() async throws -> Bool {
    let bytes = try await socket.receive()
    buffer += bytes
    while let (head, length) = size(), buffer.count >= head + length {
      let frame = buffer.dropFirst(head).prefix(length)
      let isBinary = buffer.first.map { $0 & 15 } == 2
      buffer = buffer.dropFirst(head + length)
      if isBinary, let channel = frame.first {
        output[channel, default: ""] += String(decoding: frame.dropFirst(), as: UTF8.self)
      }
    }
    return !bytes.isEmpty
  }

  /// Of the next frame, head and rest.
  private func size() -> (Int, Int)? {
    let head = Array(buffer.prefix(10))
    guard head.count >= 2 else { return nil }
    let extra = head[1] == 126 ? 2 : head[1] == 127 ? 8 : 0
    guard extra > 0 else { return (2, Int(head[1])) }
    guard head.count >= 2 + extra else { return nil }
    return (2 + extra, head[2..<(2 + extra)].reduce(0) { $0 << 8 | Int($1) })
  }
}
