import CRIProtocol

extension NetworkTables {
  static func printAttachment(_ pod: Swiftlet_V1_NetworkAttachment, of network: Swiftlet_V1_NetworkResponse) {
    let terminal = Terminal.current
    let rows = fields(pod, now: Clock.nanoseconds())
    let width = rows.map(\.name.count).max() ?? 0
    for (name, value, colour) in rows where !value.isEmpty {
      let shown = colour.map { terminal.paintData(value, $0) } ?? value
      terminal.data(name + String(repeating: " ", count: width - name.count + 3) + shown)
    }
    guard !pod.steps.isEmpty else { return }
    terminal.data("")
    for line in steps(pod) { terminal.data(line) }
  }

  static func fields(
    _ pod: Swiftlet_V1_NetworkAttachment, now: Int64
  ) -> [(name: String, value: String, colour: Colour?)] {
    let traffic = pod.traffic
    var rows: [(name: String, value: String, colour: Colour?)] = [
      ("pod", "\(pod.namespace)/\(pod.name)", nil), ("id", pod.podSandboxID, nil),
      ("age", Humane.age(nanoseconds: now - pod.createdAt), nil),
      ("addresses", pod.hostNetwork ? "the node's" : pod.addresses.joined(separator: " "), nil),
      ("gateway", pod.gateway, nil), ("mac", pod.mac, nil),
    ]
    if !pod.hostNetwork {
      let index = pod.hostIndex == 0 ? "" : " (\(pod.hostIndex))"
      let bridge = pod.bridge.isEmpty ? "" : " in \(pod.bridge)"
      rows.append(("veth", "\(pod.interface) <-> \(pod.hostInterface)\(index)\(bridge)", nil))
      rows.append(("link", pod.linkState + (pod.mtu == 0 ? "" : ", mtu \(pod.mtu)"), pod.drift.isEmpty ? .green : .red))
    }
    rows += [
      ("lease", pod.leaseState, nil), ("namespace", pod.namespaceInode == 0 ? "" : "net:[\(pod.namespaceInode)]", nil),
      ("pause", pod.pausePid == 0 ? "gone" : "pid \(pod.pausePid)", pod.pausePid == 0 ? .red : nil),
      ("containers", pod.containers.map { $0.name + ($0.running ? " (\($0.pid))" : "") }.joined(separator: ", "), nil),
      ("host ports", ports(pod), nil), ("ingress limit", rate(pod.ingressBits), nil),
      ("egress limit", rate(pod.egressBits), nil),
    ]
    if pod.hasTraffic {
      rows.append(("received", count(traffic.receivedBytes, traffic.receivedPackets, traffic.receivedDropped), nil))
      rows.append(("sent", count(traffic.sentBytes, traffic.sentPackets, traffic.sentDropped), nil))
    }
    return rows + pod.drift.map { ("drift", $0, .red) }
  }

  /// One line per step of the attach with a bar in proportion; `all` is the time that the caller waited.
  static func steps(_ pod: Swiftlet_V1_NetworkAttachment) -> [String] {
    var table = Table("STEP", "TIME", "SHARE")
    let whole = pod.steps.first { $0.name == "all" }?.nanoseconds ?? pod.steps.reduce(0) { $0 + $1.nanoseconds }
    for step in pod.steps {
      let share = whole == 0 ? 0 : Int((Double(step.nanoseconds) / Double(whole) * 40).rounded())
      let isAll = step.name == "all"
      table.add(
        Table.Cell(step.name), Table.Cell(milliseconds(step.nanoseconds)),
        Table.Cell(isAll ? "" : String(repeating: "█", count: min(share, 40))))
    }
    return table.lines(paint: Terminal.current.paintData)
  }

  private static func milliseconds(_ nanoseconds: UInt64) -> String {
    let thousandths = (nanoseconds + 500) / 1000
    let rest = "\(thousandths % 1000)"
    return "\(thousandths / 1000)." + String(repeating: "0", count: 3 - rest.count) + rest + " ms"
  }

  private static func rate(_ bits: UInt64) -> String {
    bits == 0 ? "" : Humane.size(bytes: bits).replacing("B", with: "bit/s")
  }

  private static func count(_ bytes: UInt64, _ packets: UInt64, _ dropped: UInt64) -> String {
    "\(Humane.size(bytes: bytes)) in \(packets) packets" + (dropped == 0 ? "" : ", \(dropped) dropped")
  }
}
