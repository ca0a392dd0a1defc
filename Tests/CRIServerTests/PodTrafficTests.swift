import CRIProtocol
import PodNetwork
import RuntimeModel
import Testing

@testable import CRIServer

@Suite struct PodTrafficTests {
  private func options(
    _ annotations: [String: String], labels: [String: String] = [:], host: Bool = false
  ) throws -> TrafficOptions {
    var request = Runtime_V1_RunPodSandboxRequest()
    request.config.metadata.name = "web"
    request.config.metadata.namespace = "default"
    request.config.metadata.uid = "u1"
    request.config.annotations = annotations
    request.config.labels = labels
    if host { request.config.linux.securityContext.namespaceOptions.network = .node }
    return try SandboxPlan(request, defaultParent: "/swiftlet").traffic
  }

  @Test func annotationsAndLabelBecomeOptions() throws {
    #expect(try options([:]) == TrafficOptions())
    #expect(
      try options(
        ["kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1P"],
        labels: ["swiftlet.io/isolation-group": "blue"])
        == TrafficOptions(ingressRate: 10_000_000, egressRate: 1_000_000_000_000_000, group: "blue"))
    #expect(try options([:], labels: ["swiftlet.io/isolation-group": "blue"], host: true) == TrafficOptions())
  }

  @Test(arguments: [
    ("999", false, "\"999\" is below 1k bits per second"), ("-1M", false, "\"-1M\" is not a Kubernetes quantity"),
    ("1001T", false, "is above 1P bits per second"), ("fast", false, "\"fast\" is not a Kubernetes quantity"),
    ("", false, "is not a Kubernetes quantity"), ("1M", true, "a pod on the node's network has no limit of its own"),
  ])
  func badBandwidthIsNamed(text: String, host: Bool, reason: String) {
    for direction in ["ingress", "egress"] {
      let name = "kubernetes.io/\(direction)-bandwidth"
      let error = #expect(throws: RuntimeError.self) { try options([name: text], host: host) }
      #expect(error?.code == .invalidArgument)
      #expect(error?.message.hasPrefix("config.annotations[\"\(name)\"]: ") == true)
      #expect(error?.message.hasSuffix(reason) == true)
    }
  }

  @Test func aBadGroupIsNamed() {
    let error = #expect(throws: RuntimeError.self) {
      try options([:], labels: ["swiftlet.io/isolation-group": "a b"])
    }
    #expect(error?.message == "config.labels[\"swiftlet.io/isolation-group\"]: \"a b\" is not a label's value")
  }
}
