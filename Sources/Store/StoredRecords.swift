package import RuntimeModel

/// What a database holds.
package struct StoredRecords: Sendable {
  package var sandboxes: [SandboxRecord] = []
  package var containers: [ContainerRecord] = []
  package var damaged: [DamagedRow] = []
  /// What was wrong with the file itself when it was opened, in prose.
  package var findings: [String]
}

/// A row that no record can be made of.
package struct DamagedRow: Sendable, Hashable {
  package enum Kind: String, Sendable { case sandbox, container }

  package var kind: Kind
  /// As the row has it, which may be no identifier.
  package var id: String
  /// In prose; names the row.
  package var reason: String

  package init(kind: Kind, id: String, reason: String) {
    self.kind = kind
    self.id = id
    self.reason = reason
  }
}
