import Dispatch
import Glibc
import LinuxSystem
import NIOCore
import NIOPosix
import RuntimeModel
import SPDY
import Synchronization
import Testing

@testable import Streaming

/// Forwarded connections, to servers that the test plays.
@Suite(.serialized) struct ForwardTests {
  private func client(_ server: StreamingServer, _ ports: FakePorts) async throws -> SPDYTestClient {
    try await SPDYTestClient(url: try await server.url(for: .portForward(ports)), version: "portforward.k8s.io")
  }

  /// The data stream has the number `first` + 2.
  private func open(_ client: SPDYTestClient, _ first: UInt32, port: Int) async throws {
    for (number, type) in [(first, "error"), (first + 2, "data")] {
      try await client.send(number, ["streamtype": type, "port": "\(port)", "requestid": "\(first)"])
    }
  }

  /// Port 1 is one that does not read; at the others is who sends back what came.
  private func ports(_ hung: Kept) -> FakePorts {
    FakePorts { port in
      let (ours, theirs) = try connectedSockets()
      guard port > 1 else {
        hung.keep(theirs)
        return OwnedFD(owning: ours)
      }
      DispatchQueue(label: "echo").async {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = read(theirs, &buffer, 4096), count > 0 { write(theirs, buffer, count) }
        close(theirs)
      }
      return OwnedFD(owning: ours)
    }
  }

  private static let much = ByteBuffer(repeating: 0, count: 12 << 20)

  @Test func `a connection that is not read ends where it is in the way of others`() async throws {
    try await served({ $0.stuckTime = .milliseconds(200) }) { server in
      let hung = Kept()
      let client = try await client(server, ports(hung))
      try await open(client, 1, port: 1)
      try await open(client, 5, port: 2)
      try await client.send(SPDYEncoder.data(7, ByteBuffer(string: "before")))
      try await client.read { $0.output[7] == "before" }
      try await client.send(SPDYEncoder.data(3, Self.much))
      try await client.send(SPDYEncoder.data(7, ByteBuffer(string: " after")))
      try await client.read { $0.output[7] == "before after" && $0.resets == [3] }
      #expect(client.output[1]?.contains("nothing has been read") == true)
      client.end()
    }
  }

  /// It may be as slow as it likes, and what the client does about it is seen.
  @Test func `a client that gives up an upload can make its next connection`() async throws {
    try await served({ $0.stuckTime = .milliseconds(200) }) { server in
      let hung = Kept()
      let narrowed = FakePorts { [ports = ports(hung)] port in
        let socket = try await ports.connect(to: port)
        socket.withRawDescriptor { narrow($0) }
        return socket
      }
      let client = try await client(server, narrowed)
      try await open(client, 1, port: 1)
      try await client.send(SPDYEncoder.data(3, ByteBuffer(repeating: 0, count: 2 << 20)))
      try await client.send(SPDYEncoder.reset(3, SPDYFrame.ResetStatus.cancel))
      try await open(client, 5, port: 2)
      try await client.send(SPDYEncoder.data(7, ByteBuffer(string: "next")))
      try await client.read { $0.output[7] == "next" }
      #expect(client.output[1, default: ""].isEmpty)
      client.end()
    }
  }

  @Test func `what the kernel holds for the server has a limit`() async throws {
    try await served { server in
      let held = Kept()
      let client = try await client(
        server,
        FakePorts { _ in
          let (ours, theirs) = try connectedSockets()
          held.keep(fcntl(ours, F_DUPFD_CLOEXEC, 0))
          held.keep(theirs)
          write(theirs, "here", 4)
          return OwnedFD(owning: ours)
        })
      try await open(client, 1, port: 1)
      try await client.read { $0.output[3] == "here" }
      // The kernel doubles what it is told.
      let limit = Int32(2 * Descriptors.receiveBuffer)
      #expect(held.first.map(receiveBuffer) == limit)
      let (from, to) = (client.socket.localPort, client.socket.remotePort)
      let children = (0..<1024).filter {
        port(of: Int32($0), getpeername) == from && port(of: Int32($0), getsockname) == to
      }
      #expect(children.map { receiveBuffer(Int32($0)) } == [limit])
      client.end()
    }
  }

  @Test func `all connections end with what they lead to`() async throws {
    try await served { server in
      let held = Kept()
      let ports = ports(held)
      let client = try await client(server, ports)
      try await open(client, 1, port: 2)
      try await client.send(SPDYEncoder.data(3, ByteBuffer(string: "x")))
      try await client.read { $0.output[3] == "x" }
      ports.stop()
      try await client.readToEnd()
    }
  }

  /// - Returns: how many bytes came, and errno of the end; 0 for an orderly one.
  private func upload(_ bytes: Int, isLast: Bool) async throws -> (count: Int, failure: Int32) {
    let (start, end) = (DispatchSemaphore(value: 0), Once())
    let got = Mutex((count: 0, failure: Int32(0)))
    // For the reader below to begin, whenever it does.
    try await served({ $0.lingerTime = .seconds(60) }) { server in
      let ports = FakePorts { _ in
        let (ours, theirs) = try connectedSockets()
        for socket in [ours, theirs] { narrow(socket) }
        write(theirs, "here", 4)
        DispatchQueue(label: "upload").async {
          start.wait()
          var buffer = [UInt8](repeating: 0, count: 4096)
          var count = 0
          while true {
            let read = read(theirs, &buffer, 4096)
            guard read > 0 else {
              let failure = read < 0 ? errno : 0
              got.withLock { $0 = (count, failure) }
              break
            }
            count += read
          }
          close(theirs)
          end.happen()
        }
        return OwnedFD(owning: ours)
      }
      let client = try await client(server, ports)
      try await open(client, 1, port: 1)
      try await client.read { $0.output[3] == "here" }
      try await client.send(SPDYEncoder.data(3, ByteBuffer(repeating: 0, count: bytes), isLast: isLast))
      client.end()
      // With an error, if the server has said something meanwhile.
      try? await client.readToEnd()
      start.signal()
      await end.wait()
    }
    return got.withLock { $0 }
  }

  @Test func `what was sent to its end arrives, though the client leaves at once`() async throws {
    let whole = try await upload(50_000, isLast: true)
    #expect(whole.count == 50_000 && whole.failure == 0)
  }

  @Test func `what was not sent to its end does not look like it`() async throws {
    let part = try await upload(100, isLast: false)
    #expect(part.failure == ECONNRESET)
  }

  @Test func `a descriptor that is no socket is closed once`() async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let pipe = try Pipe()
    let copy = fcntl(pipe.reading.raw, F_DUPFD_CLOEXEC, 0)
    await #expect(throws: (any Error).self) {
      _ = try await Descriptors(group: group).socket(OwnedFD(owning: copy))
    }
    #expect(fcntl(copy, F_GETFD) == -1)
    try await group.shutdownGracefully()
  }

  @Test func `a socket that breaks resets its stream`() async throws {
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let (ours, theirs) = try connectedSockets()
    let sent = Mutex<[UInt32]>([])
    let ended = Mutex(false)
    let stream = SPDYStream(id: 9) { frame in
      if frame.getInteger(at: frame.readerIndex + 2) == SPDYFrame.Kind.reset {
        sent.withLock { $0.append(frame.getInteger(at: frame.readerIndex + 8) ?? 0) }
      }
    } onEnd: { _, whole in
      ended.withLock { $0 = whole }
    }
    let channel = try await Descriptors(group: group).socket(OwnedFD(owning: ours))
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(theirs, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    close(theirs)
    await #expect(throws: (any Error).self) { try await relay(channel, stream) }
    #expect(sent.withLock { $0 } == [9])
    #expect(ended.withLock { $0 })
    try await group.shutdownGracefully()
  }
}

/// So that the kernel holds little.
private func narrow(_ descriptor: Int32) {
  for option in [SO_SNDBUF, SO_RCVBUF] {
    var bytes: Int32 = 4096
    setsockopt(descriptor, SOL_SOCKET, option, &bytes, socklen_t(MemoryLayout<Int32>.size))
  }
}

private func receiveBuffer(_ descriptor: Int32) -> Int32 {
  var (bytes, size) = (Int32(0), socklen_t(MemoryLayout<Int32>.size))
  getsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, &size)
  return bytes
}

/// Descriptors that stay open as long as this does.
private final class Kept: Sendable {
  private let descriptors = Mutex<[SharedFD]>([])

  var first: Int32? { descriptors.withLock { $0.first?.raw } }

  func keep(_ raw: Int32) {
    let descriptor = SharedFD(OwnedFD(owning: raw))
    descriptors.withLock { $0.append(descriptor) }
  }
}
