/// Why the pod network could not do something.
package enum NetworkError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A key of `[network]` has a value we cannot work with.
  case configuration(key: String, reason: String)
  /// Every address of the pod CIDRs is in use or resting.
  case addressExhausted(cidrs: String, used: Int, quarantined: Int)
  /// An interface with the bridge's name exists and is not ours.
  case bridgeTaken(name: String, reason: String)
  /// An interface with the name that a pod's host end would get exists and is not ours.
  case interfaceTaken(name: String, owner: String)
  /// The bridge has no port left (1023).
  case bridgeFull(name: String)
  /// A pod CIDR overlaps a route of the node that leads elsewhere.
  case routeOverlap(cidr: String, route: String)
  /// The kernel makes no more network namespaces (`user.max_net_namespaces`) or we may not.
  case namespaceLimit(errno: Int32)
  /// A host port is already published by another sandbox.
  case hostPortTaken(port: String, owner: String)
  /// A host port that cannot be published as asked.
  case portUnusable(String)
  /// The kernel refused a step: what we were doing, to which object, and its words where it gave any.
  case kernel(step: String, errno: Int32, object: String, detail: String)
  /// The kernel refused our rules, in nftables' words.
  case rules(String)
  /// An attach took longer than it may; the step that was next.
  case timeout(step: String, after: Duration)
  /// Not built yet.
  case unimplemented(String)
  /// `shutdown` was called.
  case closed

  package var description: String {
    switch self {
    case .configuration(let key, let reason): "network.\(key): \(reason)"
    case .addressExhausted(let cidrs, let used, let quarantined):
      "no free pod address in \(cidrs): \(used) in use, \(quarantined) resting after their pods ended"
    case .bridgeTaken(let name, let reason): "network.bridge: interface \(name) exists and is not ours: \(reason)"
    case .interfaceTaken(let name, let owner): "interface \(name) exists and is not ours: \(owner)"
    case .bridgeFull(let name): "bridge \(name) is full: the kernel allows 1023 ports"
    case .routeOverlap(let cidr, let route): "network.pod_cidrs: \(cidr) overlaps the node's route \(route)"
    case .namespaceLimit(let errno):
      "make a network namespace: \(errnoName(errno)) (see user.max_net_namespaces)"
    case .hostPortTaken(let port, let owner): "host port \(port) is already published by \(owner)"
    case .portUnusable(let text): text
    case .kernel(let step, let errno, let object, let detail):
      "\(step) \(object): \(errnoName(errno))" + (detail.isEmpty ? "" : " (\(detail))")
    case .rules(let text): "nftables: \(text)"
    case .timeout(let step, let after): "attach: no time left for step \"\(step)\" after \(after.components.seconds) s"
    case .unimplemented(let what): "\(what) is not implemented"
    case .closed: "the pod network is shut down"
    }
  }

  /// The case's name for counters: snake_case, from a closed set.
  package var kind: String {
    switch self {
    case .configuration: "configuration"
    case .addressExhausted: "address_exhausted"
    case .bridgeTaken: "bridge_taken"
    case .interfaceTaken: "interface_taken"
    case .bridgeFull: "bridge_full"
    case .routeOverlap: "route_overlap"
    case .namespaceLimit: "namespace_limit"
    case .hostPortTaken: "host_port_taken"
    case .portUnusable: "port_unusable"
    case .kernel: "kernel"
    case .rules: "rules"
    case .timeout: "timeout"
    case .unimplemented: "unimplemented"
    case .closed: "closed"
    }
  }
}
