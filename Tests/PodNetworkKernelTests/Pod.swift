import RuntimeModel

@testable import PodNetwork

/// A sandbox on the network, without a pause: the test holds its namespace.
struct Pod: Sendable {
  let id = Identifier.random()
  let attachment: Attachment

  init(_ network: PodNetwork, ports: [HostPort] = []) async throws {
    let lease = try network.reserveLease()
    attachment = try await network.attach(sandbox: id, lease: lease, ports: ports)
  }

  var lease: AddressLease { attachment.lease }
}
