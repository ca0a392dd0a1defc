import CRIProtocol
import PodNetwork
import RuntimeModel

/// The host ports that a sandbox publishes.
enum HostPorts {
  /// host_port 0 means none and is dropped; with host network every mapping is.
  /// - Throws: `invalidArgument` naming the mapping.
  static func published(
    _ mappings: [Runtime_V1_PortMapping], namespaces: NamespaceChoice
  ) throws(RuntimeError) -> [HostPort] {
    guard !namespaces.hasHostNetwork else { return [] }
    var ports: [HostPort] = []
    for (index, mapping) in mappings.enumerated() where mapping.hostPort != 0 {
      let field = "config.port_mappings[\(index)]"
      ports.append(
        HostPort(
          transport: try transport(mapping.protocol, field: field),
          hostPort: try number(mapping.hostPort, field: "\(field).host_port"),
          containerPort: try number(mapping.containerPort, field: "\(field).container_port"),
          hostIP: mapping.hostIp.isEmpty ? nil : mapping.hostIp))
    }
    return ports
  }

  private static func number(_ value: Int32, field: String) throws(RuntimeError) -> UInt16 {
    guard let port = UInt16(exactly: value), port != 0 else {
      throw RuntimeError(.invalidArgument, "\(field): \(value) is not a port")
    }
    return port
  }

  private static func transport(
    _ value: Runtime_V1_Protocol, field: String
  ) throws(RuntimeError) -> HostPort.TransportProtocol {
    switch value {
    case .tcp: .tcp
    case .udp: .udp
    case .sctp: .sctp
    case .UNRECOGNIZED(let number):
      throw RuntimeError(.invalidArgument, "\(field).protocol: \(number) is not a protocol")
    }
  }
}
