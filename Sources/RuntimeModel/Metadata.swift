/// What kubelet calls a sandbox. All four together are its name; a retry of RunPodSandbox carries the same.
package struct SandboxMetadata: Sendable, Hashable, Codable {
  package var name: String
  package var namespace: String
  package var uid: String
  package var attempt: UInt32

  package init(name: String, namespace: String, uid: String, attempt: UInt32) {
    self.name = name
    self.namespace = namespace
    self.uid = uid
    self.attempt = attempt
  }

  /// The reserved key: unique among live sandboxes. The parts are joined with a character that no part may contain.
  package var key: String { "\(name)\u{1f}\(namespace)\u{1f}\(uid)\u{1f}\(attempt)" }
}

/// What kubelet calls a container within its sandbox.
package struct ContainerMetadata: Sendable, Hashable, Codable {
  package var name: String
  package var attempt: UInt32

  package init(name: String, attempt: UInt32) {
    self.name = name
    self.attempt = attempt
  }

  /// The reserved key: unique among the containers of all live sandboxes.
  package func key(in sandbox: Identifier) -> String { "\(sandbox)\u{1f}\(name)\u{1f}\(attempt)" }
}
