import CRIProtocol
import Glibc

/// The node's own host name.
enum NodeName {
  static var current: String {
    var buffer = [CChar](repeating: 0, count: 65)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

extension Runtime_V1_PodSandboxConfig {
  /// The host name of the pod and of its containers' HOSTNAME: the node's in the node's network, which has its UTS
  /// namespace too, and where the request names none.
  func effectiveHostname(_ namespaces: NamespaceChoice) -> String {
    namespaces.hasHostNetwork || hostname.isEmpty ? NodeName.current : hostname
  }
}
