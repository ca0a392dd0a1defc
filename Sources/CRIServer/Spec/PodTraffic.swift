import CRIProtocol
import PodNetwork
import RuntimeModel

/// What a sandbox's annotations and labels ask of its network.
enum PodTraffic {
  static let ingressBandwidth = "kubernetes.io/ingress-bandwidth"
  static let egressBandwidth = "kubernetes.io/egress-bandwidth"
  /// The label whose value is the pod's group of `network.isolation = "label"`.
  static let isolationGroup = "swiftlet.io/isolation-group"

  /// - Throws: `invalidArgument` naming the annotation or label.
  static func options(
    _ config: Runtime_V1_PodSandboxConfig, namespaces: NamespaceChoice
  ) throws(RuntimeError) -> TrafficOptions {
    let options = TrafficOptions(
      ingressRate: try rate(config.annotations, ingressBandwidth),
      egressRate: try rate(config.annotations, egressBandwidth), group: try group(config.labels))
    guard namespaces.hasHostNetwork else { return options }
    for (rate, name) in [(options.ingressRate, ingressBandwidth), (options.egressRate, egressBandwidth)]
    where rate != nil {
      throw RuntimeError(.invalidArgument, "\(field(name)): a pod on the node's network has no limit of its own")
    }
    return TrafficOptions()
  }

  /// Bits per second, within kubelet's bounds of 1k and 1P.
  private static func rate(_ annotations: [String: String], _ name: String) throws(RuntimeError) -> UInt64? {
    guard let text = annotations[name] else { return nil }
    guard let quantity = Quantity(text) else {
      throw RuntimeError(.invalidArgument, "\(field(name)): \"\(text)\" is not a Kubernetes quantity")
    }
    guard quantity.units >= 1000 else {
      throw RuntimeError(.invalidArgument, "\(field(name)): \"\(text)\" is below 1k bits per second")
    }
    guard quantity.units <= 1_000_000_000_000_000 else {
      throw RuntimeError(.invalidArgument, "\(field(name)): \"\(text)\" is above 1P bits per second")
    }
    return UInt64(quantity.units)
  }

  private static func group(_ labels: [String: String]) throws(RuntimeError) -> String? {
    guard let text = labels[isolationGroup], !text.isEmpty else { return nil }
    guard TrafficOptions.isGroup(text) else {
      throw RuntimeError(.invalidArgument, "config.labels[\"\(isolationGroup)\"]: \"\(text)\" is not a label's value")
    }
    return text
  }

  private static func field(_ name: String) -> String { "config.annotations[\"\(name)\"]" }
}
