import LinuxSystem
import RuntimeModel
import Streaming
import Synchronization

/// A command that a client of Exec runs; begins when the client has come.
final class ExecStreams: StreamedProcess {
  let selection: StreamSelection
  private let exec: ContainerExec
  private let command: [String]
  private let session = Mutex<ExecSession?>(nil)

  init(_ exec: ContainerExec, command: [String], selection: StreamSelection) {
    self.exec = exec
    self.command = command
    self.selection = selection
  }

  func start() async throws -> ProcessStreams {
    guard exec.container.record.state == .running else {
      throw RuntimeError(.failedPrecondition, "\(exec.container.subject) is not running")
    }
    let begun = try await exec.begin(command: command, selection)
    session.withLock { $0 = begun }
    return ProcessStreams(begun.ends)
  }

  func exit() async throws -> Int32 {
    guard let begun = session.withLock({ $0 }) else { throw CancellationError() }
    defer { begun.hangUp() }
    return try await abandonable { try await begun.exitCode() }
  }

  func resize(to size: TerminalSize) async {
    session.withLock { $0 }?.resize(size)
  }
}

/// A client of Attach, at a container's own streams.
final class AttachStreams: StreamedProcess {
  let selection: StreamSelection
  private let attach: ContainerAttach
  private let session = Mutex<AttachSession?>(nil)

  init(_ attach: ContainerAttach, selection: StreamSelection) {
    self.attach = attach
    self.selection = selection
  }

  func start() async throws -> ProcessStreams {
    let begun = try attach.begin(selection)
    session.withLock { $0 = begun }
    return ProcessStreams(begun.ends)
  }

  func exit() async throws -> Int32 {
    guard let begun = session.withLock({ $0 }) else { throw CancellationError() }
    let isTooSlow: Bool
    do {
      isTooSlow = try await abandonable { try await begun.isTooSlow() }
    } catch let error as CancellationError {
      Task { [attach] in await attach.endInput(of: begun, clientIsGone: true) }
      throw error
    }
    guard !isTooSlow else {
      throw RuntimeError(
        .unavailable, "\(attach.container.subject): the client has not read the output in time and was disconnected")
    }
    // Whatever the container ended with: that is its status, not the attachment's.
    return 0
  }

  func inputEnded() async {
    guard let begun = session.withLock({ $0 }) else { return }
    await attach.endInput(of: begun, clientIsGone: false)
  }

  func resize(to size: TerminalSize) async { try? await attach.resize(size) }
}

extension ProcessStreams {
  fileprivate init(_ ends: StreamEnds) {
    self.init(stdin: ends.takeInput(), stdout: ends.takeOutput(), stderr: ends.takeError())
  }
}

/// The result of something that goes on when nobody waits for it any more.
/// - Throws: what `body` throws; CancellationError.
private func abandonable<Value: Sendable>(
  _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  let task = Task { try await body() }
  let done = Latch()
  Task {
    _ = await task.result
    done.open()
  }
  guard await done.wait() else { throw CancellationError() }
  return try await task.value
}
