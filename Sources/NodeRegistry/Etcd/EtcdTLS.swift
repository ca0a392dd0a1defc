internal import NIOSSL

extension EtcdConfiguration {
  /// nil: the library's defaults, which trust the node's own certificates.
  /// - Throws: `configuration` naming the key whose file cannot be used.
  func tls() throws(RegistryError) -> TLSConfiguration? {
    guard ca != nil || cert != nil else { return nil }
    var tls = TLSConfiguration.makeClientConfiguration()
    if let ca {
      do {
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(ca))
      } catch {
        throw .configuration(key: "etcd.ca", reason: "\(ca): \(error)")
      }
    }
    guard let cert, let key else { return tls }
    do {
      tls.certificateChain = try NIOSSLCertificate.fromPEMFile(cert).map { .certificate($0) }
    } catch {
      throw .configuration(key: "etcd.cert", reason: "\(cert): \(error)")
    }
    do {
      tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
    } catch {
      throw .configuration(key: "etcd.key", reason: "\(key): \(error)")
    }
    return tls
  }
}
