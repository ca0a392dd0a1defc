import CRIProtocol
import Foundation
import SwiftProtobuf
import Testing

@testable import CRIClient

@Suite struct PictureTests {
  /// A node with `pods` pods, each with a web container and some with more, and two peers.
  static func network(pods: Int, node: String = "alpha") -> Swiftlet_V1_NetworkResponse {
    var network = Swiftlet_V1_NetworkResponse()
    network.provider = "bridge"
    network.ready = true
    network.node = .with {
      $0.name = node
      $0.uplink = "uplink"
      $0.addresses = ["198.18.0.2", "fd98:18::2"]
      $0.masquerade = true
    }
    network.bridges = [
      .with {
        ($0.name, $0.index, $0.mtu, $0.up) = ("podbr0", 3, 1450, true)
        $0.addresses = ["10.244.1.1/24", "fd44:1::1/64", "fe80::1/64"]
        ($0.ports, $0.portLimit) = (UInt32(pods), 1023)
      }
    ]
    network.tunnel = .with { ($0.name, $0.kind, $0.identifier, $0.port, $0.mtu) = ("podvx0", "vxlan", 1, 4789, 1450) }
    network.blocks = [.with { $0.cidr = "10.244.1.0/24" }]
    network.peers = [
      .with {
        ($0.name, $0.state, $0.backend, $0.routePresent) = ("beta", "live", "vxlan", true)
        ($0.addresses, $0.podCidrs) = (["198.18.0.3"], ["10.244.2.0/24"])
      },
      .with {
        ($0.name, $0.state, $0.backend) = ("gamma", "stale", "host-gw")
        ($0.addresses, $0.podCidrs) = (["198.18.0.4"], ["10.244.3.0/24"])
      },
    ]
    network.attachments = (0..<pods).map { index in
      .with {
        ($0.podSandboxID, $0.namespace, $0.name) = ("id\(index)", "default", "web-\(index)")
        ($0.ready, $0.pausePid, $0.interface, $0.linkState) = (true, 100 + Int32(index), "eth0", "up")
        $0.addresses = ["10.244.1.\(index + 2)", "fd44:1::\(index + 2)"]
        $0.hostInterface = "pod0af401\(String(index + 258, radix: 16).suffix(2))"
        $0.containers = ["web", "side-car-with-a-long-name", "<b>&\"x\""].prefix(index % 3 + 1).map { name in
          .with { ($0.name, $0.running) = (name, name == "web") }
        }
        if index == 3 { $0.drift = ["forwarding entry 0a:58:0a:f4:01:05 is missing"] }
      }
    }
    return network
  }

  @Test(arguments: [0, 1, 4, 5, 13, 50]) func textFitsAHundredColumnsAndShowsEveryPod(pods: Int) {
    let lines = TextPicture(Picture([Self.network(pods: pods)])).lines
    for line in lines { #expect(line.count == TextPicture.width, "\(line)") }
    let text = lines.joined(separator: "\n")
    #expect(text.components(separatedBy: "┆pause ").count == pods + 1)
    #expect(text.components(separatedBy: "╢").count == pods + 1)
    for index in 0..<pods { #expect(text.contains("10.244.1.\(index + 2) ")) }
    if pods > 3 { #expect(text.contains("! forwarding entry 0a:58:0a:")) }
    for word in ["podbr0", "10.244.2.0/24 on beta", "gamma (stale)", "route missing", "masquerade"] {
      #expect(text.contains(word))
    }
  }

  @Test(arguments: [0, 1, 4, 5, 13, 50]) func anSVGIsWellFormedAndShowsEveryPod(pods: Int) {
    let document = SVGPicture(Picture([Self.network(pods: pods)])).document
    #expect(document.components(separatedBy: ">pause</text>").count == pods + 2)  // one in the legend
    #expect(!document.contains("<b>") && (pods < 3 || document.contains("&lt;b&gt;&amp;&quot;x&quot;")))
    #expect(document.components(separatedBy: "class=\"veth\"").count + (pods > 3 ? 1 : 0) == pods + 2)
    for element in ["g", "text", "svg", "style", "title"] {
      let opened =
        document.components(separatedBy: "<\(element)>").count + document.components(separatedBy: "<\(element) ").count
      #expect(opened - 1 == document.components(separatedBy: "</\(element)>").count, "\(element)")
    }
  }

  @Test func aNodeThatIsAskedIsNoPeer() {
    var other = Self.network(pods: 1, node: "beta")
    other.blocks = [.with { $0.cidr = "10.244.2.0/24" }]
    other.peers = []
    let picture = Picture([Self.network(pods: 1), other])
    #expect(picture.nodes.map(\.name) == ["alpha", "beta"] && picture.peers.map(\.name) == ["gamma"])
  }

  @Test func charactersThatXMLHasNot() {
    #expect(SVGCanvas.escaped("a\u{1}<&>\"'\u{7F}é") == "a&lt;&amp;&gt;&quot;&#39;é")
  }

  @Test func numbers() {
    #expect([0, 1.25, -0.5, 12, 99.96].map(SVGCanvas.number) == ["0", "1.3", "-0.5", "12", "100"])
  }

  @Test func countersByTheirPrometheusNames() {
    var network = Self.network(pods: 1)
    network.metrics = [
      .with {
        ($0.name, $0.kind, $0.help, $0.value, $0.labels) = (
          "podnet_leases", "gauge", "Addresses.", 2, ["state": "bo\"und"]
        )
      },
      .with { ($0.name, $0.kind, $0.help, $0.value) = ("podnet_conntrack_used_ratio", "gauge", "Share.", 0.25) },
    ]
    #expect(NetworkValue.whole(network)["counters"]?["podnet_leases{state=\"bo\\\"und\"}"] == .int(2))
    #expect(
      NetworkMetrics.text(network.metrics).split(separator: "\n").map(String.init) == [
        "# HELP podnet_conntrack_used_ratio Share.", "# TYPE podnet_conntrack_used_ratio gauge",
        "podnet_conntrack_used_ratio 0.25", "# HELP podnet_leases Addresses.", "# TYPE podnet_leases gauge",
        "podnet_leases{state=\"bo\\\"und\"} 2",
      ])
  }
}
