import Dispatch
import Glibc
import LinuxSystem
import RuntimeModel
import SPDY
import Synchronization

@testable import Streaming

/// A process that the test plays: a function on a thread of its own, with descriptors as a program has them.
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
    let (stdin, stdout, stderr) = (try ends(), try ends(), try ends())
    DispatchQueue(label: "fake process").async { [self] in
      let result = body(stdin.0, stdout.1, stderr.1)
      for raw in [stdin.0, stdout.1, stderr.1] { close(raw) }
      code.withLock { $0 = result }
      ended.happen()
    }
    return ProcessStreams(
      stdin: OwnedFD(owning: stdin.1), stdout: OwnedFD(owning: stdout.0), stderr: OwnedFD(owning: stderr.0))
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

struct FakePorts: PortConnector {
  func connect(to port: UInt16) async throws -> OwnedFD {
    throw RuntimeError(.failedPrecondition, "port \(port): nobody listens")
  }
}
