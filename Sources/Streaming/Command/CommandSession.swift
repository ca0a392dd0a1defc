import LinuxSystem
import NIOCore
import SPDY
import Synchronization

/// What a client's output streams are, whatever the transport.
enum OutputStream: Sendable, Hashable { case stdout, stderr }

/// The way to a client of a command. Every call waits while the client does not read.
protocol CommandClient: Sendable {
  /// - Throws: ``StreamIsReset`` when the client wants no more of this stream; what the connection fails with.
  func write(_ bytes: ByteBuffer, to stream: OutputStream) async throws
  /// Nothing more comes on the stream.
  func end(_ stream: OutputStream) async throws
  /// After everything else.
  func finish(_ outcome: CommandOutcome) async throws
}

/// A command or an attachment from its start to the status that the client gets. Ends with its task: when that is
/// cancelled because the client left, this side's ends close, and what runs goes on or not as it likes.
struct CommandSession: Sendable {
  let process: any StreamedProcess
  let client: any CommandClient
  let stdin: Inbox
  let resize: Inbox
  let exits: ExitWatcher
  /// See ``StreamingConfiguration/drainTime``.
  let drainTime: Duration
  /// Happens when what came for stdin was handed over, or cannot be.
  let stdinIsDone: Once

  private enum Part {
    case exited(Int32)
    case output, input
    case isQuiet
  }

  /// - Throws: CancellationError; what the connection fails with.
  func run() async throws {
    defer { stdinIsDone.happen() }
    // What nobody is going to take must not stop the reader of the rest.
    if !process.selection.stdin { stdin.close() }
    if !process.selection.tty { resize.close() }
    let outcome: CommandOutcome
    do {
      outcome = .exited(try await relay(try await process.start()))
    } catch {
      try Task.checkCancellation()
      outcome = .failed("\(error)")
    }
    stdin.close()
    resize.close()
    try await client.finish(outcome)
  }

  private func relay(_ streams: consuming ProcessStreams) async throws -> Int32 {
    // Each task begins in any case, and takes its descriptor over.
    let (input, output, errors) = streams.release()
    let quiet = Quiet()
    return try await withThrowingTaskGroup(of: Part.self) { group in
      defer { group.cancelAll() }
      var outputs = 0
      for (raw, stream) in [(output, OutputStream.stdout), (errors, .stderr)] {
        guard let raw else { continue }
        outputs += 1
        group.addTask {
          try await copy(raw, to: stream, quiet)
          return .output
        }
      }
      group.addTask {
        await feed(input)
        return .input
      }
      if process.selection.tty { group.addTask { await resizeTerminal() } }
      group.addTask { .exited(try await process.exit()) }
      return try await end(of: &group, outputs, quiet)
    }
  }

  private func end(
    of group: inout ThrowingTaskGroup<Part, any Error>, _ outputs: Int, _ quiet: Quiet
  ) async throws -> Int32 {
    var outputs = outputs
    var code: Int32?
    while let part = try await group.next() {
      switch part {
      case .exited(let value):
        code = value
        quiet.touch()
        if outputs == 0 { return value }
        group.addTask { [drainTime] in
          try await quiet.wait(drainTime)
          return .isQuiet
        }
      case .output:
        outputs -= 1
        if outputs == 0, let code { return code }
      case .isQuiet:
        if let code { return code }
      case .input:
        break
      }
    }
    throw CancellationError()
  }

  private func copy(_ raw: Int32, to stream: OutputStream, _ quiet: Quiet) async throws {
    try await pass(try ProcessEnd(OwnedFD(owning: raw), exits), to: stream, quiet)
    try Task.checkCancellation()
    try await client.end(stream)
  }

  /// Until the end of the output, or of the client's wish for it.
  private func pass(_ end: consuming ProcessEnd, to stream: OutputStream, _ quiet: Quiet) async throws {
    // A terminal's end is EIO.
    while let bytes = try? await end.read() {
      do {
        try await quiet.writing { try await client.write(bytes, to: stream) }
      } catch is StreamIsReset {
        // A pipe's writer learns from EPIPE that nobody reads it. A terminal stays open for stdin and the size, and who
        // writes to it would wait for ever, with its echo alone.
        guard process.selection.tty else { return }
        return await drop(end)
      }
    }
  }

  /// Reads to the end, and not faster than what is read by nobody is worth.
  private func drop(_ end: consuming ProcessEnd) async {
    while let bytes = try? await end.read(), bytes.readableBytes > 0 { try? await Task.sleep(for: .milliseconds(1)) }
  }

  private func feed(_ raw: Int32?) async {
    defer {
      stdin.close()
      stdinIsDone.happen()
    }
    guard let raw else { return }
    await feed(OwnedFD(owning: raw))
    if !Task.isCancelled { await process.inputEnded() }
  }

  /// Its end is the input's.
  private func feed(_ descriptor: consuming OwnedFD) async {
    guard let end = try? ProcessEnd(descriptor, exits) else { return }
    while let bytes = await stdin.next() {
      guard (try? await end.write(bytes)) != nil else { return }
    }
  }

  private func resizeTerminal() async -> Part {
    var reader = ResizeReader()
    while let bytes = await resize.next() {
      if let size = reader.take(bytes) { await process.resize(to: size) }
    }
    return .input
  }
}

extension ProcessStreams {
  /// Their numbers; the caller closes them.
  fileprivate consuming func release() -> (stdin: Int32?, stdout: Int32?, stderr: Int32?) {
    (stdin.take()?.release(), stdout.take()?.release(), stderr.take()?.release())
  }
}

/// When output last came; a write that the client holds up is no silence.
private final class Quiet: Sendable {
  private let clock = IdleClock()
  private let writers = Atomic<Int>(0)

  func touch() { clock.touch() }

  func writing(_ body: () async throws -> Void) async throws {
    writers.add(1, ordering: .relaxed)
    defer {
      clock.touch()
      writers.subtract(1, ordering: .relaxed)
    }
    try await body()
  }

  /// Returns once nothing has come for `limit`.
  /// - Throws: CancellationError.
  func wait(_ limit: Duration) async throws {
    while true {
      do {
        try await clock.watch(limit)
      } catch is TimePassed {
        if writers.load(ordering: .relaxed) == 0 { return }
        clock.touch()
      }
    }
  }
}
