import CRIProtocol
import SwiftProtobuf

/// This process's standard streams at a container's own process.
struct ContainerSession: Sendable {
  /// How long the end of the output may come before the runtime says that the container has ended.
  private static let patience = Duration.seconds(5)

  let connection: RuntimeConnection
  let id: String
  let name: String

  /// - Parameters:
  ///   - terminal: whether the container has one: the runtime refuses what differs.
  ///   - isNew: it was just started; what it wrote and ended with before anybody was there to see it is in its log.
  /// - Returns: the container's exit status; nil when the person has left and it runs on.
  func attach(input: Bool, terminal: Bool, isNew: Bool = false) async throws -> Int32? {
    let request = Runtime_V1_AttachRequest.with {
      $0.containerID = id
      $0.stdin = input
      $0.tty = terminal
      $0.stdout = true
      $0.stderr = !terminal
    }
    let answer = try await connection.call("attach to \(name)") { connection, options in
      try await connection.runtime.attach(request, options: options)
    }
    let session = RemoteSession(what: "attach to \(name)", usesInput: input, isTerminal: terminal)
    guard try await session.run(at: try SessionURL(answer.url)) != .detached else {
      Terminal.current.note("\nleft; \(name) runs on")
      return nil
    }
    let status = try await end(within: Self.patience)
    if isNew, !session.hasShownOutput, let status { try await printLog(of: status) }
    return status?.exitCode ?? 0
  }

  /// Attaches to a container that was just started, or tells what it did when it has ended meanwhile.
  func attachOrTell(terminal: Bool) async throws -> Int32? {
    do {
      return try await attach(input: true, terminal: terminal, isNew: true)
    } catch let error as ClientError where error.status == .failed {
      guard let status = try await end(within: .zero) else { throw error }
      try await printLog(of: status)
      return status.exitCode
    }
  }

  private func printLog(of status: Runtime_V1_ContainerStatus) async throws {
    guard !status.logPath.isEmpty else { return }
    try await LogFollower(
      connection: connection, containerID: id, path: status.logPath, printer: LogPrinter(), tail: nil
    ).run(follow: false)
  }

  /// - Returns: nil when it still runs at the end of `limit`, or is not there any more.
  private func end(within limit: Duration) async throws -> Runtime_V1_ContainerStatus? {
    let deadline = ContinuousClock.now + limit
    while true {
      guard let status = try await StatusQueries.containers([id], connection)[id] else { return nil }
      if status.state == .containerExited { return status }
      if ContinuousClock.now >= deadline { return nil }
      try await Task.sleep(for: .milliseconds(20))
    }
  }
}
