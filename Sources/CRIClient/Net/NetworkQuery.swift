import CRIProtocol
import Glibc
import SwiftProtobuf

/// Asks a daemon of ours about its pod network. CRI has no such call: another runtime is told so.
enum NetworkQuery {
  static func all(_ connection: RuntimeConnection) async throws -> Swiftlet_V1_NetworkResponse {
    try await ask("", connection)
  }

  static func one(_ sandbox: String, _ connection: RuntimeConnection) async throws -> Swiftlet_V1_NetworkResponse {
    try await ask(sandbox, connection)
  }

  private static func ask(
    _ sandbox: String, _ connection: RuntimeConnection
  ) async throws -> Swiftlet_V1_NetworkResponse {
    do {
      return try await connection.call("look at the pod network", deadline: .seconds(30)) { connection, options in
        try await connection.swiftlet.network(.with { $0.podSandboxID = sandbox }, options: options)
      }
    } catch let error as ClientError where error.isMissingCall {
      throw ClientError(
        .failed, "cannot look at the pod network",
        why: "the runtime at \(connection.socket.path) has no swiftlet.v1.Swiftlet/Network call, which CRI does not "
          + "have: it is another runtime than swiftletd, or an older one",
        remedy: "swiftlet pods, or swiftlet inspect POD, which any CRI v1 runtime answers")
    }
  }
}

/// Files that the person named for output.
enum OutputFile {
  static func write(_ text: String, to path: String) throws(ClientError) {
    guard let file = fopen(path, "we") else { throw failure(path) }
    let bytes = Array(text.utf8)
    let written = fwrite(bytes, 1, bytes.count, file)
    guard fclose(file) == 0, written == bytes.count else { throw failure(path) }
  }

  private static func failure(_ path: String) -> ClientError {
    ClientError(.failed, "cannot write \(path)", why: String(cString: strerror(errno)))
  }
}
