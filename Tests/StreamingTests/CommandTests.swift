import Glibc
import NIOCore
import SPDY
import Testing

@testable import Streaming

/// Commands whose clients or processes are not as one would like them.
@Suite(.serialized) struct CommandTests {
  private static let echo: FakeProcess.Body = { stdin, stdout, _ in
    var buffer = [UInt8](repeating: 0, count: 64)
    while case let count = read(stdin, &buffer, 64), count > 0 { write(stdout, buffer, count) }
    return 0
  }

  /// Nothing is left of what the client was told once everything is in the kernel: not when the server has waited for it
  /// as long as it waits, and not when the client sends something, which a socket that is closed answers with a reset.
  @Test func `a client that reads late has all the output, and the status`() async throws {
    try await served({ $0.lingerTime = .milliseconds(40) }) { server in
      let size = 300_000
      let process = FakeProcess(.init(stdin: false, stdout: true, stderr: false, tty: false)) { _, stdout, _ in
        writeAll(stdout, size)
        return 0
      }
      let client = try await SPDYTestClient(url: try await server.url(for: .exec(process)), receiveBuffer: 16 << 10)
      try await client.send(1, ["streamtype": "error"])
      try await client.send(3, ["streamtype": "stdout"])
      _ = try await process.exit()
      for number in 0..<20 {
        try await client.send(SPDYEncoder.ping(UInt32(number * 2 + 1)))
        // Not for anything to happen, but to give it the chance: the fault is done after the linger time.
        try await Task.sleep(for: .milliseconds(15))
      }
      try await client.readToEnd()
      #expect(client.output[3]?.utf8.count == size)
      #expect(client.output[1]?.contains("Success") == true)
    }
  }

  @Test func `sizes that nobody takes do not stop the input`() async throws {
    try await served { server in
      let process = FakeProcess(.init(stdin: true, stdout: true, stderr: false, tty: false), Self.echo)
      let client = try await WebSocketTestClient(url: try await server.url(for: .exec(process)))
      for number in 0..<400 { try await client.send(4, #"{"Width":\#(number),"Height":9}"#) }
      try await client.send(0, "hello")
      try await client.read { $0.output[1] == "hello" }
    }
  }

  private static let writer: FakeProcess.Body = { _, stdout, _ in
    writeAll(stdout, 300_000)
    return 5
  }

  @Test(arguments: [false, true]) func `a terminal without a reader does not stop its command`(
    resets: Bool
  ) async throws {
    try await served { server in
      let process = FakeProcess(.init(stdin: true, stdout: resets, stderr: false, tty: true), Self.writer)
      let client = try await SPDYTestClient(url: try await server.url(for: .exec(process)))
      for (number, role) in ["error", "stdin", "resize"].enumerated() {
        try await client.send(UInt32(2 * number + 1), ["streamtype": role])
      }
      if resets {
        try await client.send(7, ["streamtype": "stdout"])
        try await client.send(SPDYEncoder.reset(7, SPDYFrame.ResetStatus.cancel))
      }
      try await client.readToEnd()
      #expect(client.output[1]?.contains(#"{"message":"5""#) == true)
    }
  }

  @Test func `a WebSocket has no output that was not asked for`() async throws {
    try await served { server in
      let process = FakeProcess(.init(stdin: true, stdout: false, stderr: false, tty: true), Self.writer)
      let client = try await WebSocketTestClient(url: try await server.url(for: .exec(process)))
      try await client.readToEnd()
      #expect(client.output[1] == nil)
      #expect(client.output[3]?.contains(#"{"message":"5""#) == true)
    }
  }

  /// A hang-up with nothing behind it, as long as it takes to be looked at.
  @Test(arguments: [false, true]) func `a process that opens its end again after it has closed ends nothing`(
    tty: Bool
  ) async throws {
    try await served { server in
      for _ in 0..<50 {
        let process = FakeProcess(.init(stdin: true, stdout: true, stderr: false, tty: tty)) { stdin, stdout, _ in
          // From when on somebody reads.
          var go: UInt8 = 0
          write(stdout, "x", 1)
          read(stdin, &go, 1)
          toggle(stdin, stdout)
          return 7
        }
        let client = try await WebSocketTestClient(url: try await server.url(for: .exec(process)))
        try await client.read { $0.output[1] == "x" }
        try await client.send(0, "g")
        try await client.readToEnd()
        #expect(client.output[3]?.contains(#"{"message":"7""#) == true)
      }
    }
  }
}

private func writeAll(_ descriptor: Int32, _ size: Int) {
  let bytes = [UInt8](repeating: UInt8(ascii: "x"), count: size)
  var done = 0
  while done < size {
    let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress?.advanced(by: done), size - done) }
    guard count > 0 else { return }
    done += count
  }
}

/// Both descriptors are something else afterwards.
private func toggle(_ stdin: Int32, _ stdout: Int32) {
  // O_PATH, which keeps a pipe and does not hold its end.
  let path = open("/proc/self/fd/\(stdout)", 0o10000000 | O_CLOEXEC)
  let null = open("/dev/null", O_RDWR | O_CLOEXEC)
  dup2(null, stdin)
  dup2(null, stdout)
  for _ in 0..<3000 { close(open("/proc/self/fd/\(path)", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) }
  close(null)
  close(path)
}
