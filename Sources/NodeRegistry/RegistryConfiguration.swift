package import RuntimeModel

/// The `[network.nodes]` table: where nodes learn of each other.
package struct NodeRegistryConfiguration: Sendable, Hashable {
  package enum Source: Sendable, Hashable {
    /// A file with a JSON list of records.
    case file(String)
    case etcd(EtcdConfiguration)
  }

  package var source: Source
  /// How long a node whose daemon is silent keeps its routes.
  package var keepSilent = Duration.seconds(300)
  /// Whether a name that another address has is taken from it.
  package var takeOver = false
  /// Prefix length of the block that a node gets of the cluster's IPv4 block, and of its IPv6 block.
  package var maskSize4 = 24
  package var maskSize6 = 64
  /// Where the last good state survives a restart; nil: nowhere.
  package var stateDirectory: String?

  package init(source: Source) { self.source = source }

  /// - Throws: `configuration` naming the first key whose value cannot work.
  package func validated() throws(RegistryError) {
    guard (8...30).contains(maskSize4) else {
      throw .configuration(key: "cidr_mask_size_ipv4", reason: "\(maskSize4) is not within 8 and 30")
    }
    guard (16...126).contains(maskSize6) else {
      throw .configuration(key: "cidr_mask_size_ipv6", reason: "\(maskSize6) is not within 16 and 126")
    }
    switch source {
    case .file(let path):
      guard path.hasPrefix("/") else { throw .configuration(key: "file", reason: "\"\(path)\" is not absolute") }
    case .etcd(let etcd): try etcd.validated()
    }
  }
}

/// The `[network.nodes.etcd]` table.
package struct EtcdConfiguration: Sendable, Hashable {
  /// `http://host:port` or `https://host:port`; tried in order.
  package var endpoints: [String]
  /// What all keys begin with.
  package var prefix = "/podnet"
  /// Files in PEM: who may sign the servers' certificates, and what we show them.
  package var ca: String?
  package var cert: String?
  package var key: String?
  /// How long a silent daemon counts as alive, in seconds.
  package var leaseSeconds = 30

  package init(endpoints: [String]) { self.endpoints = endpoints }

  func validated() throws(RegistryError) {
    guard !endpoints.isEmpty else { throw .configuration(key: "etcd.endpoints", reason: "is empty") }
    for endpoint in endpoints {
      guard ["http://", "https://"].contains(where: endpoint.hasPrefix), !endpoint.hasSuffix("/") else {
        throw .configuration(
          key: "etcd.endpoints", reason: "\"\(endpoint)\" is not http:// or https:// with host and port")
      }
    }
    guard prefix.hasPrefix("/"), !prefix.hasSuffix("/") else {
      throw .configuration(key: "etcd.prefix", reason: "\"\(prefix)\" must begin with / and not end with it")
    }
    guard (cert == nil) == (key == nil) else {
      throw .configuration(key: "etcd.cert", reason: "cert and key go together")
    }
    guard (2...3600).contains(leaseSeconds) else {
      throw .configuration(key: "etcd.lease_seconds", reason: "\(leaseSeconds) is not within 2 and 3600")
    }
  }
}

/// Why the registry could not be used.
package enum RegistryError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A key of `[network.nodes]` has a value we cannot work with.
  case configuration(key: String, reason: String)
  /// Nobody answers, or with nonsense.
  case unavailable(String)
  /// The node's name belongs to a node with another address.
  case nameTaken(name: String, owner: String)
  /// A pod block that this node must have belongs to another.
  case blockTaken(block: String, owner: String)
  /// Every block of the cluster is some node's.
  case blocksExhausted(cluster: String)
  /// The file is not what it should be.
  case file(path: String, reason: String)

  package var description: String {
    switch self {
    case .configuration(let key, let reason): "network.nodes.\(key): \(reason)"
    case .unavailable(let text): "the node registry does not answer: \(text)"
    case .nameTaken(let name, let owner):
      "the node name \"\(name)\" belongs to the node with address \(owner) (network.node_name, network.nodes.take_over)"
    case .blockTaken(let block, let owner): "pod block \(block) belongs to node \(owner)"
    case .blocksExhausted(let cluster): "no free pod block in \(cluster)"
    case .file(let path, let reason): "\(path): \(reason)"
    }
  }
}

/// What the registry says.
package struct RegistryView: Sendable, Equatable {
  /// All nodes to be reached, this one among them.
  package var nodes: [NodeRecord] = []
  /// Names of those whose daemon has been silent for longer than its lease.
  package var silent: Set<String> = []
  /// This node's pod blocks; empty as long as they are not known.
  package var ownBlocks: [String] = []
  /// Names whose records make no sense.
  package var unreadable: Set<String> = []
  /// Why all this may be old; nil: it is not.
  package var trouble: String?
  /// Of the store; grows with each change.
  package var revision: Int64 = 0

  /// Nothing is known.
  package init() {}

  init(nodes: [NodeRecord] = [], revision: Int64) {
    self.nodes = nodes
    self.revision = revision
  }
}
