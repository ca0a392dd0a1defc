import CRIProtocol
import Foundation
import SwiftProtobuf

/// Stopping and removing, for every command that does it.
struct PodLife: Sendable {
  let connection: RuntimeConnection

  /// Seconds that a container without a manifest gets between TERM and KILL.
  static let defaultGrace: Int64 = 10

  /// Stops a pod's containers side by side, each with its grace period, then the sandbox.
  func stop(
    _ sandbox: Runtime_V1_PodSandbox, containers: [Runtime_V1_Container], grace: Int64? = nil
  ) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for container in containers where container.state == .containerRunning {
        group.addTask { try await stop(container, of: sandbox.qualifiedName, grace: grace) }
      }
      try await group.waitForAll()
    }
    try await connection.call(
      "stop pod \(sandbox.qualifiedName)", waiting: "stopping the sandbox of \(sandbox.qualifiedName)"
    ) { connection, options in
      _ = try await connection.runtime.stopPodSandbox(.with { $0.podSandboxID = sandbox.id }, options: options)
    }
  }

  func stop(_ container: Runtime_V1_Container, of pod: String, grace: Int64?) async throws {
    let seconds = grace ?? container.annotations[Marks.gracePeriod].flatMap { Int64($0) } ?? Self.defaultGrace
    let name = "\(pod)/\(container.metadata.name)"
    try await connection.call(
      "stop container \(name)", waiting: "stopping \(name) (up to \(seconds) s)", deadline: .seconds(seconds + 120)
    ) { connection, options in
      let request = Runtime_V1_StopContainerRequest.with {
        $0.containerID = container.id
        $0.timeout = seconds
      }
      _ = try await connection.runtime.stopContainer(request, options: options)
    }
  }

  func remove(_ container: Runtime_V1_Container, of pod: String) async throws {
    try await connection.call("remove container \(pod)/\(container.metadata.name)") { connection, options in
      _ = try await connection.runtime.removeContainer(.with { $0.containerID = container.id }, options: options)
    }
  }

  /// Removes a stopped pod with its containers, and the directories that were made for it.
  func remove(_ sandbox: Runtime_V1_PodSandbox) async throws {
    try await connection.call("remove pod \(sandbox.qualifiedName)") { connection, options in
      _ = try await connection.runtime.removePodSandbox(.with { $0.podSandboxID = sandbox.id }, options: options)
    }
    Self.removeDirectories(sandbox.metadata, sandbox.annotations)
  }

  /// Removes the directories that `play` or `run` noted on the sandbox. A note that does not end in the name which such
  /// a directory has is left alone.
  static func removeDirectories(_ metadata: Runtime_V1_PodSandboxMetadata, _ annotations: [String: String]) {
    guard !metadata.uid.isEmpty, !metadata.uid.contains("/"), metadata.uid != "..", metadata.uid != "." else { return }
    let expected = [
      Marks.volumeDirectory: metadata.uid,
      Marks.logDirectory: "\(metadata.namespace)_\(metadata.name)_\(metadata.uid)",
    ]
    for (mark, name) in expected {
      guard let path = annotations[mark], path.hasPrefix("/"), path.split(separator: "/").last.map(String.init) == name
      else { continue }
      do {
        // lstat semantics: a symbolic link is removed, never followed.
        try FileManager.default.removeItem(atPath: path)
      } catch CocoaError.fileNoSuchFile {
        continue
      } catch {
        Terminal.current.warn("\(path) is left behind: \(error.localizedDescription)")
      }
    }
  }
}
