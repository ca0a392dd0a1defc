package import RuntimeModel

/// What a sandbox asks of the network.
package struct CNIPod: Sendable {
  package struct Port: Sendable {
    package var hostPort: UInt16
    package var containerPort: UInt16
    /// `tcp`, `udp` or `sctp`.
    package var transport: String
    /// nil: every address of the node.
    package var hostIP: String?

    package init(hostPort: UInt16, containerPort: UInt16, transport: String, hostIP: String?) {
      self.hostPort = hostPort
      self.containerPort = containerPort
      self.transport = transport
      self.hostIP = hostIP
    }
  }

  package var sandbox: Identifier
  package var name: String
  package var namespace: String
  package var uid: String
  package var ports: [Port] = []
  /// Bits per second; nil: unlimited.
  package var ingressRate: UInt64?
  package var egressRate: UInt64?
  package var dnsServers: [String] = []
  package var dnsSearches: [String] = []
  package var dnsOptions: [String] = []
  /// Addresses asked for, with or without prefix.
  package var addresses: [String] = []
  package var mac: String?

  package init(sandbox: Identifier, name: String, namespace: String, uid: String) {
    self.sandbox = sandbox
    self.name = name
    self.namespace = namespace
    self.uid = uid
  }

  /// CNI_ARGS as every Kubernetes runtime gives them.
  /// - Throws: `badRequest` for a value that would end its argument.
  func arguments() throws(CNIError) -> String {
    let pairs = [
      ("IgnoreUnknown", "1"), ("K8S_POD_NAMESPACE", namespace), ("K8S_POD_NAME", name),
      ("K8S_POD_INFRA_CONTAINER_ID", sandbox.value), ("K8S_POD_UID", uid),
    ]
    for (key, value) in pairs where value.utf8.contains(where: { $0 == UInt8(ascii: ";") || $0 < 32 }) {
      throw .badRequest("\(key): \"\(value)\" has a semicolon or a control character, which CNI_ARGS cannot carry")
    }
    return pairs.map { "\($0.0)=\($0.1)" }.joined(separator: ";")
  }

  /// runtimeConfig: by the names of the conventions, each only where there is something to say.
  var runtimeConfig: [String: JSON] {
    var config: [String: JSON] = [:]
    if !ports.isEmpty {
      config["portMappings"] = .array(
        ports.map { port in
          .object([
            "hostPort": .int(Int64(port.hostPort)), "containerPort": .int(Int64(port.containerPort)),
            "protocol": .string(port.transport), "hostIP": .string(port.hostIP ?? ""),
          ])
        })
    }
    let bandwidth = [("ingress", ingressRate), ("egress", egressRate)].flatMap { name, rate -> [(String, JSON)] in
      guard let rate else { return [] }
      // A burst must be given; the largest that fits its field, as the other runtimes give it.
      return [("\(name)Rate", .int(Int64(clamping: rate))), ("\(name)Burst", .int(Int64(Int32.max)))]
    }
    if !bandwidth.isEmpty { config["bandwidth"] = .object(Dictionary(bandwidth, uniquingKeysWith: { $1 })) }
    let dns = [("servers", dnsServers), ("searches", dnsSearches), ("options", dnsOptions)].filter { !$0.1.isEmpty }
    if !dns.isEmpty {
      config["dns"] = .object(
        Dictionary(dns.map { ($0.0, .array($0.1.map { .string($0) })) }, uniquingKeysWith: { $1 }))
    }
    if !addresses.isEmpty { config["ips"] = .array(addresses.map { .string($0) }) }
    if let mac { config["mac"] = .string(mac) }
    return config
  }
}
