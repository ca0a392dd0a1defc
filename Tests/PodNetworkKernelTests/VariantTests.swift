import Glibc
import RuntimeModel
import Testing

@testable import PodNetwork

extension KernelTests {
  @Suite struct VariantTests {
    /// NETWORK.md D6, 5.4: with br_netfilter in the path, and without.
    @Test(arguments: [NetworkConfiguration.BridgeNfCall.off, .keep])
    func hostPortsWorkWithAndWithoutBridgeNetfilter(mode: NetworkConfiguration.BridgeNfCall) async throws {
      try KernelRoom.require()
      let sysctl = "bridge/bridge-nf-call-iptables"
      // Without br_netfilter there is nothing to tell apart.
      guard Sysctl.write(sysctl, "1") == 0 else { return }
      defer { _ = Sysctl.write(sysctl, "0") }
      var configuration = KernelRoom.configuration()
      configuration.bridgeNfCall = mode
      try await KernelRoom.withNetwork(configuration) { network in
        #expect(Sysctl.read(sysctl) == (mode == .off ? "0" : "1"))
        let web = HostPort(transport: .tcp, hostPort: 8080, containerPort: 80)
        let (pod, other) = (try await Pod(network, ports: [web]), try await Pod(network))
        let server = try await Endpoint.make(pod.attachment.namespace, .tcp, port: 80)
        for client in [other, pod] {
          #expect(try await Endpoint.make(client.attachment.namespace, .tcp).connect(to: "10.244.1.1", 8080) == 0)
          #expect(server.acceptedPeer() != nil)
        }
        #expect(try await Endpoint.make(other.attachment.namespace, .tcp).connect(to: pod.lease.ipv4 ?? "", 80) == 0)
        #expect(server.acceptedPeer() == other.lease.ipv4)
      }
    }

    @Test func aLargeBlockKnowsItsPodsInTime() async throws {
      var configuration = KernelRoom.configuration()
      configuration.podCIDRs = ["10.244.0.0/16", "fd44:1::/64"]
      try await KernelRoom.withNetwork(configuration) { network in
        let (a, b) = (try await Pod(network), try await Pod(network))
        let server = try await Endpoint.make(b.attachment.namespace, .tcp, port: 80)
        #expect(try await Endpoint.make(a.attachment.namespace, .tcp).connect(to: b.lease.ipv4 ?? "", 80) == 0)
        #expect(server.acceptedPeer() == a.lease.ipv4)
      }
    }

    @Test func theCursorSurvivesARestart() async throws {
      var configuration = KernelRoom.configuration()
      let directory = "/tmp/podnetwork-test-\(getpid())"
      mkdir(directory, 0o700)
      defer {
        unlink(directory + "/address-cursor")
        rmdir(directory)
      }
      configuration.stateDirectory = directory
      try await KernelRoom.withNetwork(configuration) { first in
        let pod = try await Pod(first)
        await first.detach(sandbox: pod.id, lease: pod.lease)
        await first.shutdown()
        let second = try await PodNetwork.open(configuration, liveSandboxes: [:], logger: KernelRoom.logger)
        #expect(try second.reserveLease().ipv4 == "10.244.1.3")
        await second.shutdown()
      }
    }
  }
}
