import CRIProtocol

/// The pod network for people: a paragraph for each kind of thing, and none for what is not there.
enum NetworkTables {
  static func printWhole(_ network: Swiftlet_V1_NetworkResponse) {
    for (index, table) in whole(network, now: Clock.nanoseconds()).enumerated() {
      if index > 0 { Terminal.current.data("") }
      printLines(table)
    }
  }

  static func whole(_ network: Swiftlet_V1_NetworkResponse, now: Int64) -> [Table] {
    [
      node(network), bridges(network), blocks(network), pods(network, now), peers(network), drops(network),
      drift(network, now),
    ].filter { !$0.rows.isEmpty }
  }

  private static func printLines(_ table: Table) {
    for line in table.lines(paint: Terminal.current.paintData) { Terminal.current.data(line) }
  }

  private static func node(_ network: Swiftlet_V1_NetworkResponse) -> Table {
    var table = Table("NODE", "PROVIDER", "READY", "UPLINK", "MTU", "ADDRESSES", "EGRESS")
    let ready =
      network.ready
      ? Table.Cell("yes", .green) : Table.Cell("\(network.reason): \(network.message)", .red)
    table.add(
      Table.Cell(network.node.name), Table.Cell(provider(network)), ready, Table.Cell(network.node.uplink),
      Table.Cell(number(network.node.mtu)), Table.Cell(network.node.addresses.joined(separator: " ")),
      Table.Cell(network.node.masquerade ? "masquerade" : ""))
    return table
  }

  private static func provider(_ network: Swiftlet_V1_NetworkResponse) -> String {
    guard network.hasList else { return network.provider }
    return "\(network.provider) \(network.list.name) (\(network.list.plugins.joined(separator: ", ")))"
  }

  private static func bridges(_ network: Swiftlet_V1_NetworkResponse) -> Table {
    var table = Table("BRIDGE", "STATE", "MTU", "PORTS", "ADDRESSES", "MAC")
    for bridge in network.bridges {
      let state = bridge.index == 0 ? Table.Cell("missing", .red) : state(bridge.up ? "up" : "down")
      table.add(
        Table.Cell(bridge.name), state, Table.Cell(number(bridge.mtu)),
        Table.Cell("\(bridge.ports)/\(bridge.portLimit)", bridge.ports >= 900 ? .yellow : nil),
        Table.Cell(bridge.addresses.joined(separator: " ")), Table.Cell(bridge.mac))
    }
    if network.hasTunnel {
      let tunnel = network.tunnel
      table.add(
        Table.Cell(tunnel.name), state(tunnel.up ? "up" : "down"), Table.Cell(number(tunnel.mtu)),
        Table.Cell("\(tunnel.kind) \(tunnel.identifier)"), Table.Cell(tunnel.addresses.joined(separator: " ")),
        Table.Cell(tunnel.mac))
    }
    return table
  }

  private static func blocks(_ network: Swiftlet_V1_NetworkResponse) -> Table {
    var table = Table("POD CIDR", "ADDRESSES", "USED", "RESTING", "LEAKED", "WARM")
    for block in network.blocks {
      table.add(
        Table.Cell(block.cidr), Table.Cell("\(block.addresses)"), Table.Cell("\(block.used)"),
        Table.Cell("\(block.resting)"), Table.Cell("\(block.leaked)", block.leaked > 0 ? .red : nil),
        Table.Cell(network.hasPool ? "\(network.pool.ready)/\(network.pool.wanted)" : ""))
    }
    return table
  }

  private static func pods(_ network: Swiftlet_V1_NetworkResponse, _ now: Int64) -> Table {
    var table = Table(
      "NAMESPACE", "POD", "AGE", "IP", "LINK", "HOST END", "RECEIVED", "SENT", "PORTS", "PAUSE", "CONTAINERS")
    for pod in network.attachments {
      let running = pod.containers.count { $0.running }
      table.add(
        Table.Cell(pod.namespace), Table.Cell(pod.name), Table.Cell(Humane.age(nanoseconds: now - pod.createdAt)),
        Table.Cell(pod.hostNetwork ? "the node's" : pod.addresses.first ?? ""), link(pod),
        Table.Cell(pod.hostInterface), Table.Cell(size(pod.traffic.receivedBytes, pod)),
        Table.Cell(size(pod.traffic.sentBytes, pod)), Table.Cell(ports(pod)),
        Table.Cell(pod.pausePid == 0 ? "" : "\(pod.pausePid)"), Table.Cell("\(running)/\(pod.containers.count)"))
    }
    return table
  }

  private static func peers(_ network: Swiftlet_V1_NetworkResponse) -> Table {
    var table = Table("PEER", "STATE", "BACKEND", "ADDRESSES", "POD CIDRS", "ROUTE", "NOTE")
    for peer in network.peers {
      table.add(
        Table.Cell(peer.name), Table.Cell(peer.state, peer.state == "live" ? .green : .yellow),
        Table.Cell(peer.backend), Table.Cell(peer.addresses.joined(separator: " ")),
        Table.Cell(peer.podCidrs.joined(separator: " ")),
        peer.routePresent ? Table.Cell("present", .green) : Table.Cell("missing", .red),
        Table.Cell(peer.note, .red))
    }
    return table
  }

  /// What was dropped or translated, and the chains of others that may drop more.
  private static func drops(_ network: Swiftlet_V1_NetworkResponse) -> Table {
    var table = Table("COUNTER", "COUNT")
    let shown = ["podnet_spoof_dropped", "podnet_incoming_dropped", "podnet_masq_packets"]
    for metric in network.metrics
    where shown.contains(metric.name) || metric.name == "podnet_attach_errors"
      || (metric.name == "podnet_repairs" && metric.value > 0)
    {
      table.add(Table.Cell(NetworkMetrics.sample(metric)), Table.Cell(NetworkMetrics.value(metric.value).json()))
    }
    for chain in network.foreignChains {
      table.add(
        Table.Cell("chain \(chain.family) \(chain.table) \(chain.chain)", .yellow), Table.Cell(chain.note))
    }
    return table
  }

  private static func drift(_ network: Swiftlet_V1_NetworkResponse, _ now: Int64) -> Table {
    var table = Table("DRIFT", "OBJECT", "ACTION", "AGE")
    for pod in network.attachments {
      for line in pod.drift {
        table.add(Table.Cell("now", .red), Table.Cell("\(pod.namespace)/\(pod.name)"), Table.Cell(line), "")
      }
    }
    for finding in network.findings {
      table.add(
        Table.Cell(finding.kind, .yellow), Table.Cell(finding.object), Table.Cell(finding.action),
        Table.Cell(finding.seenAt == 0 ? "" : Humane.age(nanoseconds: now - finding.seenAt)))
    }
    return table
  }

  // MARK: cells

  private static func number(_ value: UInt32) -> String { value == 0 ? "" : "\(value)" }

  private static func size(_ bytes: UInt64, _ pod: Swiftlet_V1_NetworkAttachment) -> String {
    pod.hasTraffic ? Humane.size(bytes: bytes) : ""
  }

  static func link(_ pod: Swiftlet_V1_NetworkAttachment) -> Table.Cell {
    if pod.hostNetwork { return "" }
    return pod.drift.isEmpty ? state(pod.linkState) : Table.Cell("\(pod.linkState), drift", .red)
  }

  private static func state(_ text: String) -> Table.Cell { Table.Cell(text, text == "up" ? .green : .red) }

  /// `8080->80/tcp`, several joined by commas.
  static func ports(_ pod: Swiftlet_V1_NetworkAttachment) -> String {
    pod.ports.map { port in
      let host = port.hostIp.contains(":") ? "[\(port.hostIp)]" : port.hostIp
      return "\(host.isEmpty ? "" : host + ":")\(port.hostPort)->\(port.containerPort)/\(port.protocol)"
    }.joined(separator: ",")
  }
}
