package import LinuxSystem
package import RuntimeModel

/// What a URL leads to. Nothing of it runs before a client has come and opened its streams.
package enum StreamTarget: Sendable {
  case exec(any StreamedProcess)
  case attach(any StreamedProcess)
  case portForward(any PortConnector)

  /// The URL's first part.
  var kind: Kind {
    switch self {
    case .exec: .exec
    case .attach: .attach
    case .portForward: .portForward
    }
  }

  enum Kind: String, Sendable { case exec, attach, portForward = "portforward" }
}

/// Which of a process's streams the client is connected to. The RPC that issues the URL decides, not the URL's reader.
package struct StreamSelection: Sendable, Hashable {
  package var stdin: Bool
  package var stdout: Bool
  package var stderr: Bool
  /// Both directions are one terminal, which has a size; then there is no `stderr`.
  package var tty: Bool

  package init(stdin: Bool, stdout: Bool, stderr: Bool, tty: Bool) {
    self.stdin = stdin
    self.stdout = stdout
    self.stderr = stderr
    self.tty = tty
  }
}

/// This side's ends of a process's standard streams; nil where one was not selected. With a terminal `stdin` and
/// `stdout` are two descriptors of its master. Whoever gets it closes them.
package struct ProcessStreams: ~Copyable, Sendable {
  package var stdin: OwnedFD?
  package var stdout: OwnedFD?
  package var stderr: OwnedFD?

  package init(stdin: consuming OwnedFD?, stdout: consuming OwnedFD?, stderr: consuming OwnedFD?) {
    self.stdin = stdin
    self.stdout = stdout
    self.stderr = stderr
  }
}

/// A process whose streams go to a client: a command of its own, or a container's that is there already.
package protocol StreamedProcess: Sendable {
  var selection: StreamSelection { get }

  /// Starts the command, or takes part in what runs; called once.
  /// - Throws: errors whose description is for the person at the client.
  func start() async throws -> ProcessStreams

  /// Waits for the end of what ``start()`` started, cancelled when the client has left.
  /// - Returns: the exit code to report.
  func exit() async throws -> Int32

  /// The client has no more input; what came of it was written. Not called when the client has left.
  func inputEnded() async

  /// With a terminal only.
  func resize(to size: TerminalSize) async
}

extension StreamedProcess {
  package func inputEnded() async {}
}

/// Where forwarded connections go.
package protocol PortConnector: Sendable {
  /// - Returns: a connected stream socket.
  /// - Throws: errors whose description is for the person at the client.
  func connect(to port: UInt16) async throws -> OwnedFD

  /// Returns once nothing can be connected to any more, or the task is cancelled.
  func ended() async
}
