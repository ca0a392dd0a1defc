import CLinux
import Glibc
import LinuxSystem
import Synchronization

/// The one thread that receives for every connection to every shim, and keeps their deadlines. Senders write to the
/// socket themselves, so a call costs one switch to this thread and none before it.
///
/// Lock order: a connection's lock, then this one. The thread holds neither when it calls a connection.
final class ShimReactor: Sendable {
  static let shared = ShimReactor()

  private struct State {
    var epoll: Int32 = -1
    /// Written to when the thread has to look at `armed` again.
    var bell: Int32 = -1
    var connections: [UInt64: ShimConnection] = [:]
    var lastToken = bellToken
    /// Until when the thread may sleep; nil: for ever.
    var armed: ContinuousClock.Instant?
  }

  /// What epoll says when it is the bell and no connection.
  private static let bellToken: UInt64 = 0
  private let state = Mutex(State())

  /// Begins to report what happens on `descriptor` to `connection`, and starts the thread for the first one.
  /// - Returns: what names the registration from now on.
  func add(_ connection: ShimConnection, descriptor: Int32) throws(ConnectionEnd) -> UInt64 {
    try state.withLock { state throws(ConnectionEnd) in
      if state.epoll < 0 { try start(&state) }
      state.lastToken += 1
      try checked(clinux_host_epoll_add(state.epoll, descriptor, state.lastToken, 0))
      state.connections[state.lastToken] = connection
      return state.lastToken
    }
  }

  /// Asks for reports of room to send in addition, or no more.
  func watch(_ token: UInt64, descriptor: Int32, sending: Bool) throws(ConnectionEnd) {
    _ = try state.withLock { state throws(ConnectionEnd) in
      try checked(clinux_host_epoll_change(state.epoll, descriptor, token, sending ? 1 : 0))
    }
  }

  /// To be called before the descriptor is closed. A report that is already on its way finds nobody.
  func remove(_ token: UInt64, descriptor: Int32) {
    state.withLock {
      // Closing the descriptor would do this as well, unless a child has inherited it.
      _ = clinux_host_epoll_remove($0.epoll, descriptor)
      $0.connections[token] = nil
    }
  }

  /// Makes sure that expired calls are looked for at `deadline`, or before.
  func wake(at deadline: ContinuousClock.Instant) {
    state.withLock {
      if let armed = $0.armed, armed <= deadline { return }
      $0.armed = deadline
      // When there is no room for the byte, those before it wake the thread as well.
      var byte: UInt8 = 0
      _ = send($0.bell, &byte, 1, Int32(MSG_DONTWAIT))
    }
  }

  private func start(_ state: inout State) throws(ConnectionEnd) {
    let epoll = try checked(clinux_host_epoll_create())
    do throws(ConnectionEnd) {
      let (listening, ringing) = try ShimSocket.pair()
      do throws(ConnectionEnd) {
        try checked(clinux_host_epoll_add(epoll, listening, Self.bellToken, 0))
        try startThread(epoll: epoll, bell: listening)
      } catch {
        close(listening)
        close(ringing)
        throw error
      }
      state.epoll = epoll
      state.bell = ringing
    } catch {
      close(epoll)
      throw error
    }
  }

  private func startThread(epoll: Int32, bell: Int32) throws(ConnectionEnd) {
    do throws(SystemCallError) {
      try LinuxSystem.startThread(named: "shim-io") { [self] in run(epoll: epoll, bell: bell) }
    } catch {
      throw .failed(call: error.call, errno: error.number)
    }
  }

  private func run(epoll: Int32, bell: Int32) -> Never {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
    var reports = [clinux_epoll_report](repeating: clinux_epoll_report(), count: 64)
    while true {
      let count = clinux_host_epoll_reports(epoll, &reports, Int32(reports.count), timeout())
      precondition(count >= 0 || count == -EINTR, "epoll_wait: errno \(-count)")
      for report in reports.prefix(Int(max(0, count))) {
        if report.token == Self.bellToken {
          _ = recv(bell, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
        } else if let connection = state.withLock({ $0.connections[report.token] }) {
          connection.ready(sending: report.sending != 0, buffer: buffer)
        }
      }
      expire()
    }
  }

  /// Milliseconds until `armed`, rounded up so that it has passed afterwards; -1 when there is no such time.
  private func timeout() -> Int32 {
    guard let armed = state.withLock({ $0.armed }) else { return -1 }
    let (seconds, attoseconds) = ContinuousClock.now.duration(to: armed).components
    if seconds < 0 || attoseconds < 0 { return 0 }
    return Int32(min(seconds, 1 << 20) * 1000 + attoseconds / 1_000_000_000_000_000 + 1)
  }

  /// Fails the calls whose deadline has passed. Looks at every call of every connection: that is a few hundred, and
  /// once per shortest deadline, since `armed` is left alone when calls end in time.
  private func expire() {
    let now = ContinuousClock.now
    let connections: [ShimConnection] = state.withLock {
      guard let armed = $0.armed, armed <= now else { return [] }
      $0.armed = nil
      return Array($0.connections.values)
    }
    if let next = connections.compactMap({ $0.expire(now) }).min() { wake(at: next) }
  }

  @discardableResult
  private func checked(_ result: Int32) throws(ConnectionEnd) -> Int32 {
    guard result >= 0 else { throw .failed(call: "epoll", errno: -result) }
    return result
  }
}
