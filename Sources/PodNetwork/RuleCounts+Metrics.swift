extension RuleCounts {
  /// By the names of NETWORK.md 14; what is dropped for other reasons than those two goes by its rule.
  package var metrics: [NetworkMetric] {
    var metrics = RuleCounter.allCases.filter(\.isSpoofing).map { counter in
      NetworkMetric(
        "podnet_spoof_dropped", .counter, "Packets dropped for an identity that was not their sender's.",
        labels: ["kind": counter.name], Double(self[counter].packets))
    }
    metrics.append(
      NetworkMetric(
        "podnet_incoming_dropped", .counter, "Packets from outside dropped on their way to pods.",
        Double(self[.incoming].packets)))
    for (counter, family) in [(RuleCounter.masqueraded4, "ipv4"), (.masqueraded6, "ipv6")] {
      metrics.append(
        NetworkMetric(
          "podnet_masq_packets", .counter, "Connections of pods that left under the node's address, by first packet.",
          labels: ["family": family], Double(self[counter].packets)))
    }
    for counter in [RuleCounter.loopback, .isolated, .internalOnly] {
      metrics.append(
        NetworkMetric(
          "podnet_policy_dropped", .counter, "Packets of pods dropped by what the configuration forbids.",
          labels: ["kind": counter.name], Double(self[counter].packets)))
    }
    return metrics
  }
}
