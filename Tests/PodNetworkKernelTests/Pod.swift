import RuntimeModel

@testable import PodNetwork

/// A sandbox on the network, without a pause: the test holds its namespace.
struct Pod: Sendable {
  let id = Identifier.random()
  let attachment: Attachment

  init(
    _ network: PodNetwork, ports: [HostPort] = [], traffic: TrafficOptions = TrafficOptions()
  ) async throws {
    let lease = try network.reserveLease()
    attachment = try await network.attach(sandbox: id, lease: lease, ports: ports, traffic: traffic)
    try await receives()
  }

  var lease: AddressLease { attachment.lease }
}
