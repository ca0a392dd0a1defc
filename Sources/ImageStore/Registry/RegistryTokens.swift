import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import NIOHTTP1
import Synchronization

/// What an authorization is good for.
struct TokenKey: Hashable, Sendable {
  var origin: RegistryOrigin
  var path: String
  var secret: Secret
}

/// The value of an Authorization header, and until when to use it.
struct CachedToken: Sendable {
  var authorization: String
  var expires: ContinuousClock.Instant
}

extension RegistryClient {
  private struct TokenAnswer: Decodable {
    var token: String?
    var access_token: String?
    var expires_in: Double?
  }

  /// What a request to this repository should carry; nil when nobody has asked for it yet.
  func authorization(for repository: Repository) -> String? {
    if case .bearer(let token) = repository.secret { return "Bearer \(token)" }
    return tokens.withLock { tokens in
      let key = TokenKey(origin: repository.origin, path: repository.path, secret: repository.secret)
      guard let cached = tokens[key] else { return nil }
      guard cached.expires > .now else {
        tokens[key] = nil
        return nil
      }
      return cached.authorization
    }
  }

  /// Answers a challenge; the result is what ``authorization(for:)`` says from now on.
  ///
  /// - Throws: ``ImageError``: `denied`, `registryUnavailable`; `CancellationError`.
  func authenticate(_ repository: Repository, _ challenge: AuthenticationChallenge) async throws {
    let key = TokenKey(origin: repository.origin, path: repository.path, secret: repository.secret)
    switch challenge {
    case .basic:
      guard case .password(let username, let password) = repository.secret else {
        throw denied(repository, "it wants a username and a password")
      }
      let value = "Basic " + encodeBase64("\(username):\(password)")
      tokens.withLock { $0[key] = CachedToken(authorization: value, expires: .now + .seconds(3_600)) }
    case .bearer(let realm, let service, let scope):
      try requireTrusted(realm, by: repository)
      let scope = scope ?? "repository:\(repository.path):pull"
      let answer = try await token(repository, realm, service: service, scope: scope)
      guard let token = answer.token ?? answer.access_token, !token.isEmpty else {
        throw denied(repository, "its token service gives no token")
      }
      guard token.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
        throw denied(repository, "its token service gives something that is no token")
      }
      // Given back a little early, since the way takes time too.
      let lifetime = min(max(answer.expires_in ?? 60, 1), 3_600) * 0.8
      let entry = CachedToken(authorization: "Bearer \(token)", expires: .now + .seconds(lifetime))
      tokens.withLock { tokens in
        if tokens.count >= 1_000 { tokens = tokens.filter { $0.value.expires > .now } }
        tokens[key] = entry
      }
    }
  }

  /// A registry names the place where secrets go: over TLS, or on this machine for a registry on it.
  private func requireTrusted(_ realm: String, by repository: Repository) throws(ImageError) {
    guard let origin = RegistryOrigin(url: realm) else {
      throw denied(repository, "its token service has no web address")
    }
    if origin.isSecure { return }
    let isKnown = !RegistryOrigin(registry: origin.name, insecure: configuration.insecure).isSecure
    guard isKnown, !repository.origin.isSecure else {
      throw denied(repository, "its token service \(origin) is not reached over TLS")
    }
  }

  private func token(
    _ repository: Repository, _ realm: String, service: String?, scope: String
  ) async throws -> TokenAnswer {
    if let form = form(repository.secret, service: service, scope: scope) {
      var request = HTTPClientRequest(url: realm)
      request.method = .POST
      request.headers.add(name: "Content-Type", value: "application/x-www-form-urlencoded")
      request.body = .bytes(ByteBuffer(string: form))
      let response = try await ask(repository, realm, request)
      // Services that know only the older way answer one of these.
      guard [400, 401, 404, 405].contains(response.status.code) else { return try await read(response, repository) }
    }
    let query = [service.map { "service=\(percentEncode($0))" }, "scope=\(percentEncode(scope))"]
    let separator = realm.contains("?") ? "&" : "?"
    var request = HTTPClientRequest(url: realm + separator + query.compactMap { $0 }.joined(separator: "&"))
    if case .password(let username, let password) = repository.secret {
      request.headers.add(name: "Authorization", value: "Basic " + encodeBase64("\(username):\(password)"))
    }
    return try await read(try await ask(repository, realm, request), repository)
  }

  private func form(_ secret: Secret, service: String?, scope: String) -> String? {
    var fields: [(String, String)] = [("scope", scope), ("client_id", "swiftlet")]
    if let service { fields.append(("service", service)) }
    switch secret {
    case .password(let username, let password):
      fields += [("grant_type", "password"), ("username", username), ("password", password)]
    case .identity(let token):
      fields += [("grant_type", "refresh_token"), ("refresh_token", token)]
    case .none, .bearer:
      return nil
    }
    return fields.map { "\($0.0)=\(percentEncode($0.1))" }.joined(separator: "&")
  }

  private func ask(
    _ repository: Repository, _ realm: String, _ request: HTTPClientRequest
  ) async throws -> HTTPClientResponse {
    do {
      return try await send(request)
    } catch {
      try Task.checkCancellation()
      let host = RegistryOrigin(url: realm)?.name ?? "?"
      throw ImageError(
        .registryUnavailable, "token service \(host) of registry \(repository.origin.name): \(Self.reason(error))")
    }
  }

  private func read(_ response: HTTPClientResponse, _ repository: Repository) async throws -> TokenAnswer {
    guard response.status.code == 200 else {
      throw denied(repository, "its token service answered \(response.status.code)")
    }
    let bytes = try await collect(response, limit: 1 << 20, name: "the answer of the token service")
    return try decodeDocument(TokenAnswer.self, bytes, "the answer of the token service")
  }

  /// All of a body.
  ///
  /// - Throws: ``ImageError`` of kind `limit`; what the network throws.
  func collect(_ response: HTTPClientResponse, limit: Int, name: String) async throws -> [UInt8] {
    var bytes: [UInt8] = []
    for try await part in response.body {
      guard bytes.count + part.readableBytes <= limit else {
        throw ImageError(.limit, "\(name) is larger than \(limit) bytes")
      }
      bytes.append(contentsOf: part.readableBytesView)
    }
    return bytes
  }
}
