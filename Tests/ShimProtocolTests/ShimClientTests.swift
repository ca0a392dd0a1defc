import FoundationEssentials
import Glibc
import RuntimeModel
import ShimProtocol
import SwiftProtobuf
import Testing

@Suite(.timeLimit(.minutes(5))) struct ShimClientTests {
  @Test func `a call carries its message and brings its answer`() async throws {
    let (client, shim) = try FakeShim.connected()
    let request = Swiftlet_Shim_V1_KillRequest.with {
      $0.containerID = "c"
      $0.signal = 15
    }
    async let response = client.kill(request)
    var requests = shim.requests.makeAsyncIterator()
    let call = try #require(await requests.next())
    #expect(call.stream == 1)
    #expect(call.request.service == "swiftlet.shim.v1.Shim")
    #expect(call.request.method == "Kill")
    #expect((1...30_000_000_000).contains(call.request.timeoutNano))
    #expect(try Swiftlet_Shim_V1_KillRequest(serializedBytes: call.request.payload) == request)
    try shim.answer(call, Swiftlet_Shim_V1_KillResponse())
    _ = try await response
  }

  @Test func `calls are answered in any order and in any pieces`() async throws {
    let (client, shim) = try FakeShim.connected()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 1...100 {
        group.addTask {
          let response = try await client.start(.with { $0.containerID = String(index) })
          #expect(response.pid == Int32(index))
        }
      }
      var calls: [FakeShim.Call] = []
      for await call in shim.requests {
        calls.append(call)
        if calls.count == 100 { break }
      }
      #expect(calls.map(\.stream) == (0..<100).map { $0 * 2 + 1 })
      for call in calls.shuffled() {
        let request = try Swiftlet_Shim_V1_StartRequest(serializedBytes: call.request.payload)
        try shim.answer(
          call, Swiftlet_Shim_V1_StartResponse.with { $0.pid = Int32(request.containerID) ?? 0 }, piece: 5)
      }
      try await group.waitForAll()
    }
  }

  @Test func `a status becomes an error with its failing step`() async throws {
    let (client, shim) = try FakeShim.connected()
    let response = Task { try await client.start(.init()) }
    var requests = shim.requests.makeAsyncIterator()
    let call = try #require(await requests.next())
    let answer = Swiftlet_Shim_V1_Response.with {
      $0.status.code = 9
      $0.status.message = "exec /bin/nothing: no such file"
      $0.status.failure = .with {
        $0.step = "exec"
        $0.errno = ENOENT
        $0.subject = "/bin/nothing"
      }
    }
    try shim.answer(call.stream, answer)
    let error = try await #require(throws: ShimCallError.self) { _ = try await response.value }
    #expect(error.origin == .shim && error.code == .failedPrecondition)
    #expect(error.message == "shim Start: exec /bin/nothing: no such file")
    #expect(error.failure?.errno == ENOENT)
  }

  @Test func `the network namespace goes beside the first byte`() async throws {
    let (client, shim) = try FakeShim.connected()
    let passed = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)
    defer { close(passed) }
    async let response = client.startSandbox(.init(), networkNamespace: passed)
    var requests = shim.requests.makeAsyncIterator()
    let call = try #require(await requests.next())
    let received = try #require(call.descriptors.first)
    defer { close(received) }
    #expect(call.descriptors.count == 1 && received != passed)
    #expect(inode(of: received) == inode(of: passed))
    try shim.answer(call, Swiftlet_Shim_V1_StartSandboxResponse())
    _ = try await response
  }

  @Test func `a descriptor that waits behind other frames may be closed by its owner`() async throws {
    let (client, shim) = try FakeShim.connected(reading: false)
    let payload = [UInt8](repeating: 7, count: 3 << 20)
    let first = Task {
      try await client.start(.with { $0.process.argv = [.init(payload)] })
    }
    // Nothing is read, so the first frame fills the socket; the second then waits behind it.
    while await !isFull(shim.descriptor) { try await Task.sleep(for: .milliseconds(2)) }
    let passed = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)
    let expected = inode(of: passed)
    let second = Task { try await client.startSandbox(.init(), networkNamespace: passed) }
    second.cancel()
    await #expect(throws: ShimCallError.self) { try await second.value }
    close(passed)
    shim.read()
    var requests = shim.requests.makeAsyncIterator()
    let start = try #require(await requests.next())
    #expect(start.request.payload.count > 3 << 20)
    let sandbox = try #require(await requests.next())
    let received = try #require(sandbox.descriptors.first ?? start.descriptors.first)
    #expect(inode(of: received) == expected)
    close(received)
    try shim.answer(sandbox, Swiftlet_Shim_V1_StartSandboxResponse())
    try shim.answer(start, Swiftlet_Shim_V1_StartResponse())
    _ = try await first.value
  }

  @Test func `streams go in order and are closed here as soon as the shim has them`() async throws {
    let (client, shim) = try FakeShim.connected()
    let streams = try (0..<3).map { _ in try ShimSocket.pair() }
    defer { for stream in streams { close(stream.daemon) } }
    let expected = streams.map { inode(of: $0.shim) }
    async let response = client.exec(.with { $0.stdin = true }, passing: streams.map(\.shim))
    var requests = shim.requests.makeAsyncIterator()
    let call = try #require(await requests.next())
    #expect(call.request.timeoutNano == 0)
    #expect(call.descriptors.map(inode) == expected)
    for descriptor in call.descriptors { close(descriptor) }
    for stream in streams { #expect(isAtEnd(stream.daemon)) }
    try shim.answer(call, Swiftlet_Shim_V1_ExecResponse.with { $0.exitCode = 7 })
    #expect(try await response.exitCode == 7)
    client.close()
    let unsent = try ShimSocket.pair()
    defer { close(unsent.daemon) }
    await #expect(throws: ShimCallError.self) { _ = try await client.exec(.init(), passing: [unsent.shim]) }
    #expect(isAtEnd(unsent.daemon), "in failure, too")
  }

  @Test func `a call without an answer ends at its deadline and its late answer is dropped`() async throws {
    let (client, shim) = try FakeShim.connected()
    var requests = shim.requests.makeAsyncIterator()
    // Long enough for the call to be sent, whatever else runs.
    let before = ContinuousClock.now
    let error = try await #require(throws: ShimCallError.self) {
      _ = try await client.state(deadline: .now + .seconds(2))
    }
    #expect(error.origin == .deadline && error.code == .deadlineExceeded)
    #expect(ContinuousClock.now - before >= .seconds(2))
    try shim.answer(#require(await requests.next()), Swiftlet_Shim_V1_StateResponse())
    async let next = client.state()
    try shim.answer(#require(await requests.next()), Swiftlet_Shim_V1_StateResponse.with { $0.sandboxID = "s" })
    #expect(try await next.sandboxID == "s")
    await #expect(throws: ShimCallError.self) { _ = try await client.state(deadline: .now - .seconds(1)) }
  }

  @Test func `a cancelled task does not wait for its call`() async throws {
    let (client, shim) = try FakeShim.connected()
    var requests = shim.requests.makeAsyncIterator()
    let waiting = Task { try await client.waitExits() }
    let call = try #require(await requests.next())
    #expect(call.request.timeoutNano == 0)
    waiting.cancel()
    let error = try await #require(throws: ShimCallError.self) { _ = try await waiting.value }
    #expect(error.origin == .cancelled)
    // Cancelled before it began.
    let late = Task {
      while !Task.isCancelled { await Task.yield() }
      return try await client.waitExits()
    }
    late.cancel()
    await #expect(throws: ShimCallError.self) { _ = try await late.value }
  }

  @Test func `the end of the connection fails every call`() async throws {
    let (client, shim) = try FakeShim.connected()
    let (ends, observer) = AsyncStream<ConnectionEnd>.makeStream()
    client.onClose { observer.yield($0) }
    var requests = shim.requests.makeAsyncIterator()
    let calls = (0..<5).map { _ in Task { try await client.waitExits() } }
    for _ in calls { _ = await requests.next() }
    shim.die()
    for call in calls {
      let error = try await #require(throws: ShimCallError.self) { _ = try await call.value }
      #expect(error.origin == .connection(.closedByShim) && error.code == .unavailable && error.isConnectionLoss)
    }
    var end = ends.makeAsyncIterator()
    #expect(await end.next() == .closedByShim)
    let after = try await #require(throws: ShimCallError.self) { _ = try await client.state() }
    #expect(after.isConnectionLoss)
    client.onClose { observer.yield($0) }
    #expect(await end.next() == .closedByShim)
  }

  @Test(arguments: [
    (Frame(stream: 99, type: Frame.response, payload: []), FrameError.unexpectedStream(99)),
    (Frame(stream: 2, type: Frame.response, payload: []), FrameError.unexpectedStream(2)),
    (Frame(stream: 1, type: 3, payload: []), FrameError.unexpectedType(3)),
  ])
  func `an answer to nothing ends the connection`(frame: Frame, error: FrameError) async throws {
    let (client, shim) = try FakeShim.connected()
    let (ends, observer) = AsyncStream<ConnectionEnd>.makeStream()
    client.onClose { observer.yield($0) }
    try shim.send(frame)
    var end = ends.makeAsyncIterator()
    #expect(await end.next() == .malformed(error))
  }

  @Test func `a large answer comes whole and a too large request does not go`() async throws {
    let (client, shim) = try FakeShim.connected()
    var requests = shim.requests.makeAsyncIterator()
    async let output = client.execSync(.init(), deadline: nil)
    let call = try #require(await requests.next())
    let bytes = [UInt8](repeating: 0x5a, count: 15 << 20)
    try shim.answer(call, Swiftlet_Shim_V1_ExecSyncResponse.with { $0.stdout = .init(bytes) }, piece: 100_000)
    #expect(try await output.stdout.count == bytes.count)
    let error = try await #require(throws: ShimCallError.self) {
      _ = try await client.start(.with { $0.process.argv = [.init(bytes)] })
    }
    #expect(error.origin == .message)
  }

  @Test func `a client out of use closes its connection`() async throws {
    let (daemon, descriptor) = try ShimSocket.pair()
    let shim = FakeShim(descriptor: descriptor)
    do { _ = try ShimClient.adopt(connected: daemon) }
    for await _ in shim.requests { Issue.record("nothing was asked") }
  }

  @Test(arguments: ["", String(repeating: "d", count: 120)])
  func `a listening socket is for its owner only, whatever the length of its path`(name: String) async throws {
    var template = Array("/tmp/shim-test-XXXXXX".utf8CString)
    let root = String(cString: try #require(mkdtemp(&template)))
    let directory = "\(root)/\(name)"
    mkdir(directory, 0o700)
    let path = "\(directory)/shim.sock"
    defer {
      unlink(path)
      rmdir(directory)
      rmdir(root)
    }
    let missing = try await #require(throws: ShimCallError.self) { _ = try await ShimClient.connect(path: path) }
    #expect(missing.origin == .connection(.failed(call: "connect \(path)", errno: ENOENT)))
    let listening = try ShimSocket.listen(path: path)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    let client = try await ShimClient.connect(path: path)
    let shim = FakeShim(descriptor: accept(listening, nil, nil))
    var requests = shim.requests.makeAsyncIterator()
    async let response = client.shutdown()
    try shim.answer(#require(await requests.next()), Swiftlet_Shim_V1_ShutdownResponse())
    _ = try await response
    close(listening)
    let refused = try await #require(throws: ShimCallError.self) { _ = try await ShimClient.connect(path: path) }
    #expect(refused.origin == .connection(.failed(call: "connect \(path)", errno: ECONNREFUSED)))
  }

  private func inode(of descriptor: Int32) -> UInt {
    var status = stat()
    return fstat(descriptor, &status) == 0 ? status.st_ino : 0
  }

  /// Whether a socket has no other end any more, now or soon.
  private func isAtEnd(_ descriptor: Int32) -> Bool {
    var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    var byte: UInt8 = 0
    return poll(&waiting, 1, 60_000) == 1 && read(descriptor, &byte, 1) == 0
  }

  /// Whether as much waits to be read as the sender's buffer holds.
  private func isFull(_ descriptor: Int32) async -> Bool {
    var waiting: Int32 = 0
    return ioctl(descriptor, UInt(FIONREAD), &waiting) == 0 && waiting > 64 << 10
  }
}
