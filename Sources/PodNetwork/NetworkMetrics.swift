// What the module counts, by the names of NETWORK.md 14.

extension NetworkCounters {
  package var metrics: [NetworkMetric] {
    var metrics = NetworkRepair.Kind.allCases.map { kind in
      NetworkMetric(
        "podnet_repairs", .counter, "What somebody else took away and was put back.", labels: ["kind": kind.rawValue],
        Double(repairs[kind] ?? 0))
    }
    metrics.append(
      NetworkMetric(
        "podnet_enobufs", .counter, "Times the kernel dropped events that we read too slowly.", Double(droppedEvents)))
    metrics.append(
      NetworkMetric("podnet_netlink_queue", .gauge, "Jobs that wait for the kernel's one writer.", Double(queue)))
    metrics.append(
      NetworkMetric("podnet_lost", .counter, "Sandboxes whose link vanished under them.", Double(lost)))
    return metrics
  }
}
