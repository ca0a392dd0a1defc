import Glibc
import RuntimeModel
import Streaming

extension ConfigurationTable {
  /// `[streaming]`: where kubelet's streams of exec, attach and port-forward are served.
  func readStreaming(into configuration: inout StreamingConfiguration) throws(RuntimeError) {
    try allow(["address", "port"])
    if let address = try string("address") {
      var bytes = in6_addr()
      guard inet_pton(AF_INET, address, &bytes) == 1 || inet_pton(AF_INET6, address, &bytes) == 1 else {
        throw failure("address", "\"\(address)\" is not an IP address")
      }
      configuration.address = address
    }
    if let port = try integer("port") {
      guard let number = UInt16(exactly: port) else { throw failure("port", "\(port) is not within 0 and 65535") }
      configuration.port = number
    }
  }
}
