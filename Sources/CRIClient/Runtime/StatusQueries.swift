import CRIProtocol
import Foundation
import SwiftProtobuf

/// Statuses of many objects, a bounded number of questions at a time. What is gone meanwhile is left out.
enum StatusQueries {
  static let width = 16

  static func sandboxes(
    _ ids: [String], _ connection: RuntimeConnection
  ) async throws -> [String: Runtime_V1_PodSandboxStatusResponse] {
    try await each(ids) { id in
      try await connection.call("ask for a pod's status", deadline: .seconds(30)) { connection, options in
        let request = Runtime_V1_PodSandboxStatusRequest.with {
          $0.podSandboxID = id
          $0.verbose = true
        }
        return try await connection.runtime.podSandboxStatus(request, options: options)
      }
    }
  }

  static func containers(
    _ ids: [String], _ connection: RuntimeConnection
  ) async throws -> [String: Runtime_V1_ContainerStatus] {
    try await each(ids) { id in
      try await connection.call("ask for a container's status", deadline: .seconds(30)) { connection, options in
        try await connection.runtime.containerStatus(.with { $0.containerID = id }, options: options).status
      }
    }
  }

  private static func each<Status: Sendable>(
    _ ids: [String], _ ask: @escaping @Sendable (String) async throws -> Status
  ) async throws -> [String: Status] {
    let statuses = try await Concurrent.map(ids) { id -> Status? in
      do {
        return try await ask(id)
      } catch  where ClientError.isNotFound(error) {
        return nil
      }
    }
    return Dictionary(zip(ids, statuses).compactMap { id, status in status.map { (id, $0) } }) { first, _ in first }
  }
}

extension Runtime_V1_PodSandboxStatusResponse {
  /// The hidden process that holds the namespaces of a ready sandbox; nil where the runtime tells of none. Others tell
  /// it by the same name.
  var pausePid: Int64? {
    guard status.state == .sandboxReady, let text = info["info"] else { return nil }
    guard case .int(let pid)? = (try? Value(json: Data(text.utf8)))?["pid"], pid > 0 else { return nil }
    return pid
  }
}

/// The same for many items, a bounded number of them at a time.
enum Concurrent {
  static let width = 16

  /// - Returns: the results in the order of the items.
  /// - Throws: the first failure; what has begun is cancelled.
  static func map<Item: Sendable, Result: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) async throws -> Result
  ) async throws -> [Result] {
    try await withThrowingTaskGroup(of: (Int, Result).self) { group in
      var waiting = items.enumerated().makeIterator()
      var results: [Int: Result] = [:]
      var running = 0
      while true {
        while running < width, let (index, item) = waiting.next() {
          group.addTask { (index, try await body(item)) }
          running += 1
        }
        guard let (index, result) = try await group.next() else { break }
        results[index] = result
        running -= 1
      }
      return items.indices.compactMap { results[$0] }
    }
  }

  /// Does every item, whatever becomes of the others.
  ///
  /// - Throws: the first failure, when all are done.
  static func each<Item: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) async throws -> Void
  ) async throws {
    let failures = try await map(items) { item -> (any Error)? in
      do {
        try await body(item)
        return nil
      } catch {
        return error
      }
    }
    if let failure = failures.compactMap(\.self).first { throw failure }
  }
}
