import CRIProtocol
import Glibc
import RuntimeModel

/// What of a sandbox's request goes into the generated hosts, hostname and resolv.conf: each value stays one word of
/// one line (ATTACKS N09).
enum SandboxNames {
  /// sethostname(2) takes so many bytes.
  private static let longestHostname = 64
  /// A domain name in text form (RFC 1035) with a final dot.
  private static let longestDomain = 254

  /// - Throws: `invalidArgument` naming `config.hostname`.
  static func check(hostname: String) throws(RuntimeError) {
    guard hostname.utf8.count <= longestHostname else {
      throw RuntimeError(.invalidArgument, "config.hostname: longer than 64 bytes, which sethostname(2) refuses")
    }
    guard hostname.utf8.allSatisfy(isNameByte) else {
      throw RuntimeError(
        .invalidArgument, "config.hostname: \"\(hostname)\" has more than letters, digits, '-', '_' and '.'")
    }
  }

  /// - Throws: `invalidArgument` naming the field of `config.dns_config`.
  static func check(_ dns: Runtime_V1_DNSConfig) throws(RuntimeError) {
    for server in dns.servers where !isAddress(server) {
      throw RuntimeError(.invalidArgument, "config.dns_config.servers: \"\(server)\" is no IP address")
    }
    for domain in dns.searches where !isDomain(domain) {
      throw RuntimeError(.invalidArgument, "config.dns_config.searches: \"\(domain)\" is no domain name")
    }
    // resolv.conf(5): words, some with a number behind a colon.
    for option in dns.options where option.isEmpty || !option.utf8.allSatisfy({ isNameByte($0) || $0 == 0x3a }) {
      throw RuntimeError(.invalidArgument, "config.dns_config.options: \"\(option)\" is no option of resolv.conf(5)")
    }
  }

  /// With an interface's name behind a percent sign where it is a link-local one.
  private static func isAddress(_ text: String) -> Bool {
    let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    if parts.count == 2, parts[1].isEmpty || !parts[1].utf8.allSatisfy(isNameByte) { return false }
    guard !text.utf8.contains(0) else { return false }
    var bytes = in6_addr()
    let address = String(parts[0])
    if inet_pton(AF_INET6, address, &bytes) == 1 { return true }
    return parts.count == 1 && inet_pton(AF_INET, address, &bytes) == 1
  }

  /// Kubernetes lets "." alone stand for the root.
  private static func isDomain(_ text: String) -> Bool {
    if text == "." { return true }
    guard text.utf8.count <= longestDomain, text.utf8.allSatisfy(isNameByte) else { return false }
    let name = text.hasSuffix(".") ? text.dropLast() : text[...]
    return name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { (1...63).contains($0.utf8.count) }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: true
    default: false
    }
  }
}
