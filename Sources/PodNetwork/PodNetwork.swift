package import Logging
package import RuntimeModel

/// The pods' network on this node: one bridge, one veth pair per sandbox, rules of its own.
///
/// It works in the network namespace that the calling process is in when `open` is called.
package final class PodNetwork: Sendable {
  /// What `open` found and repaired.
  package let report: NetworkReport

  private init(report: NetworkReport) { self.report = report }

  package static func open(
    _ configuration: NetworkConfiguration, liveSandboxes: [Identifier: AddressLease], logger: Logger
  ) async throws(NetworkError) -> PodNetwork { throw .unimplemented("open") }

  package func reserveLease() throws(NetworkError) -> AddressLease { throw .unimplemented("reserveLease") }

  package func giveBack(_ lease: AddressLease) {}

  package func attach(
    sandbox: Identifier, lease: AddressLease, ports: [HostPort] = []
  ) async throws(NetworkError) -> Attachment { throw .unimplemented("attach") }

  package func detach(sandbox: Identifier, lease: AddressLease) async {}

  package func readiness() async -> NetworkReadiness { .notReady(reason: "NotBuilt", message: "not built") }

  package func shutdown() async {}
}
