import Foundation

/// Where a runtime serves one session: what `Exec`, `Attach` and `PortForward` answer.
struct SessionURL: Sendable, Equatable {
  let host: String
  let port: Int
  /// Path and query, as they stand in the request line.
  let target: String

  /// - Throws: ``ClientError`` for anything but `http://host:port/path`; a server behind TLS is one of those.
  init(_ text: String) throws(ClientError) {
    guard let parts = URLComponents(string: text), parts.scheme == "http", let host = parts.host, !host.isEmpty else {
      throw ClientError(
        .failed, "cannot connect to the runtime's streaming server",
        why: "its address \"\(text)\" is not http://HOST:PORT/PATH")
    }
    // URLComponents keeps the brackets of an IPv6 address, which a socket address has not.
    self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
    port = parts.port ?? 80
    let path = parts.percentEncodedPath.isEmpty ? "/" : parts.percentEncodedPath
    target = path + (parts.percentEncodedQuery.map { "?\($0)" } ?? "")
  }

  /// For the header `Host`.
  var authority: String { (host.contains(":") ? "[\(host)]" : host) + ":\(port)" }
}
