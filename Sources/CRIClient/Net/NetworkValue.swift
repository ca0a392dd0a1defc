import CRIProtocol

/// The pod network as data: every member is there, whatever its value.
enum NetworkValue {
  static func whole(_ network: Swiftlet_V1_NetworkResponse) -> Value {
    .record([
      "provider": .string(network.provider), "ready": .bool(network.ready), "reason": .string(network.reason),
      "message": .string(network.message),
      "node": .record([
        "name": .string(network.node.name), "uplink": .string(network.node.uplink),
        "addresses": .strings(network.node.addresses), "mtu": int(network.node.mtu),
        "masquerade": .bool(network.node.masquerade),
      ]),
      "bridges": .list(network.bridges.map(bridge)), "cidrs": .list(network.blocks.map(block)),
      "directCIDRs": .strings(network.directCidrs), "pods": .list(network.attachments.map(attachment)),
      "peers": .list(network.peers.map(peer)), "tunnel": network.hasTunnel ? tunnel(network.tunnel) : .null,
      "foreignChains": .list(
        network.foreignChains.map { chain in
          .record([
            "family": .string(chain.family), "table": .string(chain.table), "chain": .string(chain.chain),
            "note": .string(chain.note),
          ])
        }),
      "findings": .list(network.findings.map(finding)),
      "pool": network.hasPool
        ? .record(["ready": int(network.pool.ready), "wanted": int(network.pool.wanted)]) : .null,
      "cni": network.hasList ? list(network.list) : .null,
      "counters": .object(
        network.metrics.map { Value.Member(NetworkMetrics.sample($0), NetworkMetrics.value($0.value)) }),
    ])
  }

  static func attachment(_ attachment: Swiftlet_V1_NetworkAttachment) -> Value {
    .record([
      "id": .string(attachment.podSandboxID), "name": .string(attachment.name),
      "namespace": .string(attachment.namespace), "ready": .bool(attachment.ready),
      "hostNetwork": .bool(attachment.hostNetwork), "ips": .strings(attachment.addresses),
      "gateway": .string(attachment.gateway), "mac": .string(attachment.mac),
      "interface": .string(attachment.interface), "hostInterface": .string(attachment.hostInterface),
      "hostIndex": .int(Int64(attachment.hostIndex)), "bridge": .string(attachment.bridge),
      "link": .string(attachment.linkState), "mtu": int(attachment.mtu), "traffic": traffic(attachment.traffic),
      "networkNamespace": int(attachment.namespaceInode), "pausePid": .int(Int64(attachment.pausePid)),
      "createdAt": Shown.time(attachment.createdAt), "lease": .string(attachment.leaseState),
      "ports": .list(attachment.ports.map(port)),
      "ingressBits": int(attachment.ingressBits), "egressBits": int(attachment.egressBits),
      "attachMilliseconds": .object(
        attachment.steps.map { Value.Member($0.name, .double(Double($0.nanoseconds / 1000) / 1000)) }),
      "drift": .strings(attachment.drift),
      "containers": .list(
        attachment.containers.map { container in
          .record([
            "name": .string(container.name), "id": .string(container.id), "running": .bool(container.running),
            "pid": .int(Int64(container.pid)),
          ])
        }),
    ])
  }

  private static func bridge(_ bridge: Swiftlet_V1_NetworkBridge) -> Value {
    .record([
      "name": .string(bridge.name), "index": .int(Int64(bridge.index)), "up": .bool(bridge.up),
      "mtu": int(bridge.mtu), "mac": .string(bridge.mac), "addresses": .strings(bridge.addresses),
      "ports": int(bridge.ports), "portLimit": int(bridge.portLimit),
    ])
  }

  private static func block(_ block: Swiftlet_V1_NetworkBlock) -> Value {
    .record([
      "cidr": .string(block.cidr), "addresses": int(block.addresses), "used": int(block.used),
      "resting": int(block.resting), "leaked": int(block.leaked),
    ])
  }

  private static func peer(_ peer: Swiftlet_V1_NetworkPeer) -> Value {
    .record([
      "name": .string(peer.name), "state": .string(peer.state), "backend": .string(peer.backend),
      "addresses": .strings(peer.addresses), "podCIDRs": .strings(peer.podCidrs),
      "routePresent": .bool(peer.routePresent), "ageSeconds": peer.ageSeconds < 0 ? .null : .int(peer.ageSeconds),
      "mtu": int(peer.mtu), "note": .string(peer.note),
    ])
  }

  private static func tunnel(_ tunnel: Swiftlet_V1_NetworkTunnel) -> Value {
    .record([
      "name": .string(tunnel.name), "kind": .string(tunnel.kind), "id": int(tunnel.identifier),
      "port": int(tunnel.port), "mtu": int(tunnel.mtu), "mac": .string(tunnel.mac), "up": .bool(tunnel.up),
      "addresses": .strings(tunnel.addresses), "traffic": traffic(tunnel.traffic),
    ])
  }

  private static func finding(_ finding: Swiftlet_V1_NetworkFinding) -> Value {
    .record([
      "kind": .string(finding.kind), "object": .string(finding.object), "action": .string(finding.action),
      "seenAt": Shown.time(finding.seenAt),
    ])
  }

  private static func list(_ list: Swiftlet_V1_NetworkList) -> Value {
    .record([
      "name": .string(list.name), "path": .string(list.path), "cniVersion": .string(list.cniVersion),
      "plugins": .strings(list.plugins),
    ])
  }

  private static func port(_ port: Swiftlet_V1_NetworkPort) -> Value {
    .record([
      "protocol": .string(port.protocol), "hostIP": .string(port.hostIp), "hostPort": int(port.hostPort),
      "containerPort": int(port.containerPort),
    ])
  }

  private static func traffic(_ traffic: Swiftlet_V1_NetworkTraffic) -> Value {
    .record([
      "receivedBytes": int(traffic.receivedBytes), "receivedPackets": int(traffic.receivedPackets),
      "receivedDropped": int(traffic.receivedDropped), "sentBytes": int(traffic.sentBytes),
      "sentPackets": int(traffic.sentPackets), "sentDropped": int(traffic.sentDropped),
    ])
  }

  private static func int(_ number: some FixedWidthInteger) -> Value { .int(Int64(clamping: number)) }
}

/// Counters as Prometheus writes them.
enum NetworkMetrics {
  /// `name{label="value"}`, labels in order.
  static func sample(_ metric: Swiftlet_V1_NetworkMetric) -> String {
    guard !metric.labels.isEmpty else { return metric.name }
    let labels = metric.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\"\(escaped($0.value))\"" }
    return "\(metric.name){\(labels.joined(separator: ","))}"
  }

  static func value(_ number: Double) -> Value {
    number == number.rounded() && abs(number) < 1e15 ? .int(Int64(number)) : .double(number)
  }

  /// The text exposition format, without a final newline.
  static func text(_ metrics: [Swiftlet_V1_NetworkMetric]) -> String {
    var lines: [String] = []
    var named: Set<String> = []
    for metric in metrics.sorted(by: { $0.name < $1.name }) {
      if named.insert(metric.name).inserted {
        lines.append("# HELP \(metric.name) \(metric.help)")
        lines.append("# TYPE \(metric.name) \(metric.kind)")
      }
      lines.append("\(sample(metric)) \(value(metric.value).json())")
    }
    return lines.joined(separator: "\n")
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
  }
}
