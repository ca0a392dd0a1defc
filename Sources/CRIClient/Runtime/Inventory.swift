import CRIProtocol

/// The pods and containers that a runtime lists, at one moment.
struct Inventory: Sendable {
  var sandboxes: [Runtime_V1_PodSandbox] = []
  var containers: [Runtime_V1_Container] = []

  static func load(_ connection: RuntimeConnection) async throws -> Inventory {
    async let sandboxes = connection.call("list the pods", deadline: .seconds(30)) { connection, options in
      try await connection.runtime.listPodSandbox(.init(), options: options).items
    }
    async let containers = connection.call("list the containers", deadline: .seconds(30)) { connection, options in
      try await connection.runtime.listContainers(.init(), options: options).containers
    }
    // Newest first, which is the order of the tables and of preference.
    return try await Inventory(
      sandboxes: sandboxes.sorted { $0.createdAt > $1.createdAt },
      containers: containers.sorted { $0.createdAt > $1.createdAt })
  }

  func sandbox(of container: Runtime_V1_Container) -> Runtime_V1_PodSandbox? {
    sandboxes.first { $0.id == container.podSandboxID }
  }

  func containers(of sandbox: Runtime_V1_PodSandbox) -> [Runtime_V1_Container] {
    containers.filter { $0.podSandboxID == sandbox.id }
  }

  /// A pod's containers, of each name only the one that counts: the running one, else the newest.
  func currentContainers(of sandbox: Runtime_V1_PodSandbox) -> [Runtime_V1_Container] {
    Self.collapse(containers(of: sandbox), key: \.metadata.name) { $0.state == .containerRunning }
      .sorted { ($0.createdAt, $0.metadata.name) < ($1.createdAt, $1.metadata.name) }
  }

  /// `ns/pod/container`, or as much of it as is known.
  func name(of container: Runtime_V1_Container) -> String {
    guard let sandbox = sandbox(of: container) else { return container.metadata.name }
    return "\(sandbox.qualifiedName)/\(container.metadata.name)"
  }

  /// Of the items with the same key, the preferred one, else the first (the newest).
  static func collapse<Item>(_ items: [Item], key: (Item) -> String, isPreferred: (Item) -> Bool) -> [Item] {
    var order: [String] = []
    var chosen: [String: Item] = [:]
    for item in items {
      let name = key(item)
      if let present = chosen[name] {
        if isPreferred(item), !isPreferred(present) { chosen[name] = item }
      } else {
        order.append(name)
        chosen[name] = item
      }
    }
    return order.compactMap { chosen[$0] }
  }
}

extension Runtime_V1_PodSandbox {
  /// `namespace/name`.
  var qualifiedName: String { "\(metadata.namespace)/\(metadata.name)" }
}
