import CRIProtocol
import SwiftProtobuf

/// This process's standard streams at a container's own process.
struct ContainerSession: Sendable {
  /// How long the end of the output may come before the runtime says that the container has ended.
  private static let patience = Duration.seconds(5)

  let connection: RuntimeConnection
  let id: String
  let name: String

  /// - Parameter terminal: whether the container has one: the runtime refuses what differs.
  /// - Returns: the container's exit status; 0 when the person has left and it runs on.
  func attach(input: Bool, terminal: Bool) async throws -> Int32 {
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
      return 0
    }
    return try await exitCode()
  }

  private func exitCode() async throws -> Int32 {
    let deadline = ContinuousClock.now + Self.patience
    while true {
      let status = try await StatusQueries.containers([id], connection)[id]
      guard let status else { return 0 }
      if status.state == .containerExited { return status.exitCode }
      if ContinuousClock.now >= deadline { return 0 }
      try await Task.sleep(for: .milliseconds(20))
    }
  }
}
