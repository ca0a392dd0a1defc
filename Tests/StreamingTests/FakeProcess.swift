import Dispatch
import Glibc
import LinuxSystem
import RuntimeModel
import SPDY
import Synchronization

@testable import Streaming

/// A process that the test plays: a function on a thread of its own, with descriptors as a program has them. With a
/// terminal, whose echo is off, stdin and stdout are it.
final class FakeProcess: StreamedProcess {
  typealias Body = @Sendable (_ stdin: Int32, _ stdout: Int32, _ stderr: Int32) -> Int32

  let selection: StreamSelection
  let sizes = Mutex<[TerminalSize]>([])
  private let body: Body
  private let code = Mutex<Int32?>(nil)
  private let ended = Once()

  init(
    _ selection: StreamSelection = .init(stdin: true, stdout: true, stderr: true, tty: false),
    _ body: @escaping Body = { _, _, _ in 0 }
  ) {
    self.selection = selection
    self.body = body
  }

  func start() async throws -> ProcessStreams {
    if selection.tty {
      let (master, terminal) = try Self.terminal()
      let second = fcntl(terminal, F_DUPFD_CLOEXEC, 0)
      begin(stdin: terminal, stdout: second, stderr: -1)
      return ProcessStreams(
        stdin: selection.stdin ? OwnedFD(owning: fcntl(master, F_DUPFD_CLOEXEC, 0)) : nil,
        stdout: OwnedFD(owning: master), stderr: nil)
    }
    let (stdin, stdout, stderr) = (try ends(), try ends(), try ends())
    begin(stdin: stdin.0, stdout: stdout.1, stderr: stderr.1)
    return ProcessStreams(
      stdin: OwnedFD(owning: stdin.1), stdout: OwnedFD(owning: stdout.0), stderr: OwnedFD(owning: stderr.0))
  }

  private func begin(stdin: Int32, stdout: Int32, stderr: Int32) {
    DispatchQueue(label: "fake process").async { [self] in
      let result = body(stdin, stdout, stderr)
      for raw in [stdin, stdout, stderr] where raw >= 0 { close(raw) }
      code.withLock { $0 = result }
      ended.happen()
    }
  }

  private static func terminal() throws -> (master: Int32, terminal: Int32) {
    let master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    var (isLocked, number) = (Int32(0), UInt32(0))
    // TIOCSPTLCK and TIOCGPTN.
    guard master >= 0, ioctl(master, 0x4004_5431, &isLocked) == 0, ioctl(master, 0x8004_5430, &number) == 0 else {
      throw SystemCallError(call: "open", subject: "/dev/ptmx")
    }
    let terminal = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY | O_CLOEXEC)
    var mode = termios()
    guard terminal >= 0, tcgetattr(terminal, &mode) == 0 else { throw SystemCallError(call: "open", subject: "") }
    cfmakeraw(&mode)
    tcsetattr(terminal, TCSANOW, &mode)
    return (master, terminal)
  }

  func exit() async throws -> Int32 {
    await ended.wait()
    return try code.withLock { $0 } ?? { throw CancellationError() }()
  }

  func resize(to size: TerminalSize) async { sizes.withLock { $0.append(size) } }

  private func ends() throws -> (Int32, Int32) {
    var raw: [Int32] = [0, 0]
    guard pipe(&raw) == 0 else { throw SystemCallError(call: "pipe2", subject: "") }
    for end in raw { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (raw[0], raw[1])
  }
}

/// Ports that the test plays.
final class FakePorts: PortConnector {
  typealias Server = @Sendable (UInt16) async throws -> OwnedFD

  private let server: Server
  private let end = Once()

  init(
    _ server: @escaping Server = { throw RuntimeError(.failedPrecondition, "port \($0): nobody listens") }
  ) { self.server = server }

  func connect(to port: UInt16) async throws -> OwnedFD { try await server(port) }

  func ended() async { await end.wait() }

  func stop() { end.happen() }
}

/// Both ends of a connection over the loopback; the caller closes them.
func connectedSockets() throws -> (Int32, Int32) {
  let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
  let (listener, client) = (socket(AF_INET, kind, 0), socket(AF_INET, kind, 0))
  defer { close(listener) }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  var size = socklen_t(MemoryLayout<sockaddr_in>.size)
  let server = withUnsafeMutablePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      guard bind(listener, address, size) == 0, listen(listener, 1) == 0, getsockname(listener, address, &size) == 0,
        connect(client, address, size) == 0
      else { return Int32(-1) }
      return accept(listener, nil, nil)
    }
  }
  guard server >= 0 else { throw SystemCallError(call: "accept", subject: "") }
  return (client, server)
}
