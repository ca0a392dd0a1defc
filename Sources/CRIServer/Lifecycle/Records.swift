import CRIProtocol
import RuntimeModel
import Store
import SwiftProtobuf

/// What a daemon finds on disk at its start, for ``Daemon/recover(_:)``: the objects that can be made of it, and what is
/// left of those that cannot.
package struct Records: Sendable {
  private(set) var sandboxes: [Sandbox] = []
  private(set) var containers: [Container] = []
  /// Records that nothing can be made of, and why. What they stand for may be alive.
  private(set) var unusableSandboxes: [Identifier: String] = [:]
  private(set) var unusableContainers: [Identifier: String] = [:]
  /// Rows under what is no identifier: nothing else has that name.
  private(set) var nameless: [DamagedRow] = []

  init(_ stored: StoredRecords) {
    for row in stored.damaged {
      guard let id = Identifier(row.id) else {
        nameless.append(row)
        continue
      }
      switch row.kind {
      case .sandbox: unusableSandboxes[id] = row.reason
      case .container: unusableContainers[id] = row.reason
      }
    }
    for record in stored.sandboxes {
      do {
        sandboxes.append(try Sandbox(record))
      } catch {
        unusableSandboxes[record.id] = "the record of sandbox \(record.id) has no usable request: \(error)"
      }
    }
    let present = Set(sandboxes.map(\.id))
    for record in stored.containers {
      guard present.contains(record.sandboxID) else {
        unusableContainers[record.id] = "its sandbox \(record.sandboxID) has no usable record"
        continue
      }
      do {
        let config = try Runtime_V1_ContainerConfig(serializedBytes: record.config)
        containers.append(Container(record: record, config: config))
      } catch {
        unusableContainers[record.id] = "the record of container \(record.id) has no usable request: \(error)"
      }
    }
  }
}

extension Sandbox {
  /// As recorded by an earlier daemon.
  /// - Throws: what is wrong with the request in the record.
  convenience init(_ record: SandboxRecord) throws {
    let config = try Runtime_V1_PodSandboxConfig(serializedBytes: record.config)
    let namespaces = try NamespaceChoice(
      config.linux.securityContext.namespaceOptions, field: "record", isSandbox: true)
    self.init(record: record, config: config, namespaces: namespaces, isListed: record.state != .creating)
  }
}
