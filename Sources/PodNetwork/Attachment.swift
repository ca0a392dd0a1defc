package import LinuxSystem
package import RuntimeModel

/// A sandbox on the pod network: what `attach` made.
package struct Attachment: Sendable {
  /// The namespace. Pause joins it; when this and every process in it are gone, the kernel removes the veth pair.
  package let namespace: SharedFD
  package let lease: AddressLease
  /// Address of the bridge as pods see it: IPv4 where there is one, else `fe80::1`.
  package let gateway: String
  /// How long each step took, in order: `namespace`, `queue` (for the writer), `veth`, `inside`, `host`, `ports` where
  /// there are any, and `all` together. With a namespace of the warm pool `pool` stands for `namespace`, and there are no
  /// `veth` and `inside`.
  package internal(set) var timings: [(step: String, duration: Duration)]
}

/// One port of the node that leads into a pod.
package struct HostPort: Sendable, Hashable {
  /// Transport, named as nftables names it.
  package enum TransportProtocol: String, Sendable, Hashable { case tcp, udp, sctp }

  package var transport: TransportProtocol
  package var hostPort: UInt16
  package var containerPort: UInt16
  /// Address of the node it is bound to, in text; nil: all.
  package var hostIP: String?

  package init(transport: TransportProtocol, hostPort: UInt16, containerPort: UInt16, hostIP: String? = nil) {
    self.transport = transport
    self.hostPort = hostPort
    self.containerPort = containerPort
    self.hostIP = hostIP
  }
}

/// A sandbox whose link vanished although nobody had stopped it. It is not attached again: its namespace may be gone, and
/// what runs in it has lost its connections.
package struct NetworkLoss: Sendable, Equatable {
  package let sandbox: Identifier
  /// Prose, for the sandbox's status.
  package let reason: String

  package init(sandbox: Identifier, reason: String) {
    self.sandbox = sandbox
    self.reason = reason
  }
}

/// What CRI `Status` says as NetworkReady.
package enum NetworkReadiness: Sendable, Equatable {
  case ready
  /// `reason` is CamelCase, `message` is prose.
  case notReady(reason: String, message: String)
}

/// What `open` found and did; all zero and empty where the kernel already agreed with the leases.
package struct NetworkReport: Sendable, Equatable {
  /// Links of pods that nobody knows any more; removed.
  package var removedLinks: [String] = []
  /// Live sandboxes whose link is gone: their namespace died without us.
  package var lostSandboxes: [Identifier] = []
  /// Entries (bridge options, addresses, forwarding entries, neighbours) that were missing and were put back.
  package var repairs: [NetworkRepair] = []
}
