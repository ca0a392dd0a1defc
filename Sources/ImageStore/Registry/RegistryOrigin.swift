/// Where a registry answers: credentials belong to one origin and go to no other (ATTACKS.md I14).
struct RegistryOrigin: Hashable, Sendable, CustomStringConvertible {
  let isSecure: Bool
  /// Lower case, without a port; an IPv6 address in brackets.
  let host: String
  let port: Int

  /// `https://host`, with the port where it is not the scheme's own.
  var description: String {
    let isUsual = port == (isSecure ? 443 : 80)
    return "\(isSecure ? "https" : "http")://\(host)\(isUsual ? "" : ":\(port)")"
  }

  /// For people: without the scheme.
  var name: String { String(description.drop { $0 != "/" }.dropFirst(2)) }

  /// - Parameters:
  ///   - authority: `host` or `host:port`.
  ///   - insecure: authorities for plain HTTP, beside loopback.
  init(registry authority: String, insecure: Set<String>) {
    let (host, port) = Self.split(authority)
    let isPlain = insecure.contains(authority) || insecure.contains(host) || Self.isLoopback(host)
    self.isSecure = !isPlain
    self.host = host.lowercased()
    self.port = port ?? (isPlain ? 80 : 443)
  }

  /// - Returns: nil unless `url` is http or https with a host and without a user.
  init?(url: String) {
    let isSecure = url.lowercased().hasPrefix("https://")
    guard isSecure || url.lowercased().hasPrefix("http://") else { return nil }
    let rest = url.dropFirst(isSecure ? 8 : 7)
    let authority = rest.prefix { !"/?#".contains($0) }
    guard !authority.isEmpty, !authority.contains("@"), !authority.contains("\\") else { return nil }
    let (host, port) = Self.split(String(authority))
    self.isSecure = isSecure
    self.host = host.lowercased()
    self.port = port ?? (isSecure ? 443 : 80)
  }

  private static func split(_ authority: String) -> (host: String, port: Int?) {
    if authority.hasPrefix("["), let end = authority.firstIndex(of: "]") {
      let rest = authority[authority.index(after: end)...]
      return (String(authority[...end]), rest.hasPrefix(":") ? Int(rest.dropFirst()) : nil)
    }
    guard let colon = authority.lastIndex(of: ":") else { return (authority, nil) }
    return (String(authority[..<colon]), Int(authority[authority.index(after: colon)...]))
  }

  /// 127.0.0.0/8, ::1 and localhost: no other machine hears what is said there.
  static func isLoopback(_ host: String) -> Bool {
    if host == "localhost" || host == "[::1]" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }
}

/// A registry's challenge (RFC 9110, 11.6.1), as far as registries use it.
enum AuthenticationChallenge: Equatable {
  case basic
  case bearer(realm: String, service: String?, scope: String?)

  /// - Returns: nil for a scheme that we do not know.
  init?(_ header: String) {
    let words = header.split(separator: " ", maxSplits: 1)
    guard let scheme = words.first?.lowercased() else { return nil }
    if scheme == "basic" {
      self = .basic
      return
    }
    guard scheme == "bearer", words.count == 2 else { return nil }
    let values = Self.parameters(words[1])
    guard let realm = values["realm"] else { return nil }
    self = .bearer(realm: realm, service: values["service"], scope: values["scope"])
  }

  private static func parameters(_ text: Substring) -> [String: String] {
    var values: [String: String] = [:]
    var rest = text
    while !rest.isEmpty {
      rest = rest.drop { $0 == " " || $0 == "," }
      guard let equals = rest.firstIndex(of: "=") else { return values }
      let name = rest[..<equals].lowercased()
      rest = rest[rest.index(after: equals)...]
      var value = ""
      if rest.first == "\"" {
        rest = rest.dropFirst()
        while let character = rest.popFirst(), character != "\"" {
          if character == "\\", let escaped = rest.popFirst() { value.append(escaped) } else { value.append(character) }
        }
      } else {
        value = String(rest.prefix { $0 != "," && $0 != " " })
        rest = rest.dropFirst(value.count)
      }
      values[name] = value
    }
    return values
  }
}

/// What of a client's credentials a registry may see (CRI.md 7.3, "AuthConfig order").
enum Secret: Hashable, Sendable {
  case none
  case password(username: String, password: String)
  /// A refresh token.
  case identity(String)
  /// A ready bearer token.
  case bearer(String)

  init(_ credentials: RegistryCredentials?, for reference: ImageReference) {
    self = .none
    guard let credentials, Self.belongs(credentials.serverAddress, to: reference) else { return }
    if !credentials.username.isEmpty {
      self = .password(username: credentials.username, password: credentials.password)
    } else if !credentials.identityToken.isEmpty {
      self = .identity(credentials.identityToken)
    } else if let (username, password) = Self.decode(credentials.auth) {
      self = .password(username: username, password: password)
    } else if !credentials.registryToken.isEmpty {
      self = .bearer(credentials.registryToken)
    }
  }

  /// Credentials for another server are not for ours. People write the server as a host or as a URL.
  private static func belongs(_ server: String, to reference: ImageReference) -> Bool {
    if server.isEmpty { return true }
    var host = Substring(server)
    for scheme in ["https://", "http://"] where host.lowercased().hasPrefix(scheme) {
      host = host.dropFirst(scheme.count)
    }
    host = host.prefix { $0 != "/" }
    let name = host == "index.docker.io" || host == "registry-1.docker.io" ? "docker.io" : host.lowercased()
    return name == reference.host.lowercased()
  }

  private static func decode(_ auth: String) -> (String, String)? {
    guard !auth.isEmpty, let bytes = decodeBase64(auth) else { return nil }
    let text = String(decoding: bytes, as: UTF8.self)
    guard let colon = text.firstIndex(of: ":") else { return nil }
    let password = text[text.index(after: colon)...]
    return (String(text[..<colon]), String(password.prefix { $0 != "\0" }))
  }
}
