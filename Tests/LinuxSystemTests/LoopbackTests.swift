import Glibc
import Testing

@testable import LinuxSystem

/// Connections to what does not answer.
@Suite(.timeLimit(.minutes(5))) struct LoopbackTests {
  @Test func `a connection without an answer ends with who waits for it`() async throws {
    let full = try FullListener()
    let exits = try ExitWatcher()
    let dial = Task { _ = try await LoopbackConnection.open(port: full.port, in: nil, within: .seconds(600), exits) }
    // Begun or not, it ends.
    await Task.yield()
    dial.cancel()
    await #expect(throws: CancellationError.self) { try await dial.value }
  }

  @Test func `a connection without an answer fails in time`() async throws {
    let full = try FullListener()
    let exits = try ExitWatcher()
    let error = await #expect(throws: SystemCallError.self) {
      _ = try await LoopbackConnection.open(port: full.port, in: nil, within: .milliseconds(50), exits)
    }
    #expect(error.map { "\($0)".hasPrefix("connect ") && "\($0)".contains("ETIMEDOUT") } == true)
  }
}

/// Listens on 127.0.0.1, and its queue is full.
private final class FullListener {
  let port: UInt16
  private var descriptors: [Int32] = []

  init() throws {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let listener = socket(AF_INET, kind, 0)
    descriptors.append(listener)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let guests = (0..<4).map { _ in socket(AF_INET, kind, 0) }
    descriptors += guests
    let isListening = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        guard bind(listener, address, size) == 0, listen(listener, 0) == 0,
          getsockname(listener, address, &size) == 0
        else { return false }
        for guest in guests { connect(guest, address, size) }
        // The kernel may come to the first of them only after the calls.
        let end = ContinuousClock.now + .seconds(60)
        while Self.waiting(at: listener) == 0, ContinuousClock.now < end { sched_yield() }
        return true
      }
    }
    port = UInt16(bigEndian: address.sin_port)
    guard isListening else { throw SystemCallError(call: "listen", subject: "") }
  }

  /// Connections that nobody has taken yet.
  private static func waiting(at listener: Int32) -> UInt32 {
    var (state, size) = (tcp_info(), socklen_t(MemoryLayout<tcp_info>.size))
    getsockopt(listener, Int32(IPPROTO_TCP), TCP_INFO, &state, &size)
    return state.tcpi_unacked
  }

  deinit { for descriptor in descriptors { close(descriptor) } }
}
