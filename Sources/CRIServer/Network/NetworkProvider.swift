import CRIProtocol
import LinuxSystem
import PodNetwork
import RuntimeModel

/// What gives sandboxes their network: our own bridge, or the plugins of a CNI configuration list. Everything else of
/// the daemon is the same with either.
protocol NetworkProvider: Sendable {
  /// Our own network, for what only it can do; nil where another one provides.
  var nodes: NodeNetwork? { get }

  /// Addresses that belong into the sandbox's record before anything is made; nil where the provider chooses them in
  /// `attach`.
  /// - Parameter ownNamespace: `attach` will be given a namespace.
  func reserveLease(ownNamespace: Bool) throws -> AddressLease?

  /// Undoes `reserveLease` when the record could not be written.
  func giveBack(_ lease: AddressLease)

  /// Makes a namespace and puts it on the network. On failure nothing is left but what `detach` takes away.
  /// - Parameter namespace: the sandbox's own, where a user namespace is to own it.
  func attach(_ sandbox: Sandbox, _ plan: SandboxPlan, namespace: SharedFD?) async throws -> SandboxNetwork

  /// Takes the sandbox off the network. Idempotent; a sandbox that was never on it is success.
  /// - Throws: when something of it is left; it is asked again then.
  func detach(_ sandbox: Sandbox) async throws

  /// What CRI `Status` says as NetworkReady.
  func readiness() async -> NetworkReadiness

  /// Fills in what `swiftlet net` shows, from the kernel; of attachments only their own side: the daemon adds names,
  /// pause and containers.
  /// - Parameters:
  ///   - only: the one sandbox that is asked for; nil: all.
  ///   - all: the sandboxes that are listed.
  func describe(_ response: inout Swiftlet_V1_NetworkResponse, only: Sandbox?, all: [Sandbox]) async throws

  /// Lets go of everything without touching a pod.
  func shutdown() async
}

/// What an attach has made.
struct SandboxNetwork: Sendable {
  /// Pause joins it, and holds it from then on.
  var namespace: SharedFD
  /// In the order the CRI shows them.
  var addresses: [String]
  /// How long each step took, in order.
  var steps: [(name: String, duration: Duration)]
}

/// The default: our own bridge, and the other nodes' by routes and tunnel.
struct BridgeProvider: NetworkProvider {
  let network: NodeNetwork
  let journal: AttachJournal

  var nodes: NodeNetwork? { network }

  func reserveLease(ownNamespace: Bool) throws -> AddressLease? {
    try network.current.reserveLease(ownNamespace: ownNamespace)
  }

  func giveBack(_ lease: AddressLease) { try? network.current.giveBack(lease) }

  func attach(_ sandbox: Sandbox, _ plan: SandboxPlan, namespace: SharedFD?) async throws -> SandboxNetwork {
    guard let lease = sandbox.record.lease else {
      throw RuntimeError(.internalError, "\(sandbox.subject) has no lease to attach")
    }
    do {
      let made = try await network.current.attach(
        sandbox: sandbox.id, lease: lease, ports: plan.ports, traffic: plan.traffic,
        namespace: namespace)
      let steps = made.timings.map { (name: $0.step, duration: $0.duration) }
      journal.attached(steps)
      return SandboxNetwork(namespace: made.namespace, addresses: lease.addresses, steps: steps)
    } catch {
      journal.failed(error)
      throw error
    }
  }

  func detach(_ sandbox: Sandbox) async throws {
    // Without a network nothing of the sandbox is there.
    guard let lease = sandbox.record.lease, let network = try? network.current else { return }
    await network.detach(sandbox: sandbox.id, lease: lease)
  }

  func readiness() async -> NetworkReadiness { await network.readiness() }

  func shutdown() async { await network.close() }
}
