import AsyncHTTPClient
import LinuxSystem
import Logging
import NIOCore
import NIOHTTP1
import Synchronization

/// Speaks the OCI distribution protocol to registries, as one who pulls.
final class RegistryClient: Sendable {
  let configuration: RegistryConfiguration
  let directory: StoreDirectory
  /// For the file side of downloads.
  let files = BlockingPool(threads: 2)
  let tokens = Mutex<[TokenKey: CachedToken]>([:])
  private let http: HTTPClient

  /// One registry, one repository and who asks.
  struct Repository: Sendable {
    let reference: ImageReference
    let origin: RegistryOrigin
    let secret: Secret

    var path: String { reference.path }
  }

  init(_ configuration: RegistryConfiguration, directory: StoreDirectory) {
    self.configuration = configuration
    self.directory = directory
    var settings = HTTPClient.Configuration(
      redirectConfiguration: .disallow,
      timeout: .init(connect: .init(configuration.connectTimeout), read: .init(configuration.stallTimeout)))
    // A pull asks once; a pool that tries for long would hide that the registry is away.
    settings.connectionPool.retryConnectionEstablishment = false
    http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: settings)
  }

  func shutdown() async { try? await http.shutdown() }

  // The library traps when its client goes without having been shut down; again is no harm.
  deinit { Task { [http] in try? await http.shutdown() } }

  func repository(_ reference: ImageReference, _ credentials: RegistryCredentials?) -> Repository {
    Repository(
      reference: reference,
      origin: RegistryOrigin(registry: reference.endpoint, insecure: configuration.insecure),
      secret: Secret(credentials, for: reference))
  }

  /// GETs something of a repository: authenticates, follows redirects, tries again what may pass.
  ///
  /// - Returns: an answer of 200, 206, 404 or 416.
  /// - Throws: ``ImageError``: `registryUnavailable`, `denied`; `CancellationError`.
  func get(
    _ repository: Repository, _ path: String, headers: [(String, String)] = []
  ) async throws -> HTTPClientResponse {
    let url = "\(repository.origin)/v2/\(repository.path)/\(path)"
    var attempt = 1
    while true {
      let outcome: String
      var pause = Duration.milliseconds(200 * (1 << min(attempt - 1, 6)))
      do {
        let response = try await authenticated(repository, url, headers)
        switch response.status.code {
        case 200, 206, 404, 416: return response
        case 429, 500...599:
          outcome = "answered \(response.status.code)"
          if let seconds = response.headers.first(name: "Retry-After").flatMap({ Int($0) }) {
            pause = .seconds(min(max(seconds, 0), 10))
          }
        default:
          throw ImageError(
            .denied, "registry \(repository.origin.name) answered \(response.status.code) for \(repository.reference)")
        }
      } catch let error as ImageError {
        throw error
      } catch {
        try Task.checkCancellation()
        outcome = Self.reason(error)
      }
      guard attempt < configuration.attempts else {
        throw ImageError(.registryUnavailable, "registry \(repository.origin.name): \(outcome)")
      }
      attempt += 1
      try await Task.sleep(for: pause)
    }
  }

  /// One request without any authentication.
  func send(_ request: HTTPClientRequest) async throws -> HTTPClientResponse {
    var request = request
    request.headers.replaceOrAdd(name: "User-Agent", value: "swiftlet")
    return try await http.execute(request, deadline: .distantFuture)
  }

  /// Why nobody answered, in words: the libraries' own spell out their types.
  static func reason(_ error: any Error) -> String {
    if let error = error as? HTTPClientError { return error.shortDescription.lowercased() }
    let text = "\(error)"
    if text.contains("Connection refused") { return "connection refused" }
    if text.contains("onnection reset") { return "connection reset" }
    if text.contains("unreachable") { return "network or host unreachable" }
    if text.contains("connectTimeout") || text.contains("timed out") { return "no answer in time" }
    if text.contains("certificate") || text.contains("CERTIFICATE") { return "its certificate is not trusted" }
    if text.contains("handshake") || text.contains("SSL") { return "TLS failed: \(text.prefix(200))" }
    if text.contains("dns") || text.contains("DNS") { return "its name does not resolve" }
    return String(text.prefix(200))
  }
}

// MARK: - Redirects and authentication

extension RegistryClient {
  private func authenticated(
    _ repository: Repository, _ url: String, _ headers: [(String, String)]
  ) async throws -> HTTPClientResponse {
    for _ in 0..<3 {
      let authorization = authorization(for: repository)
      let response = try await following(repository, url, headers, authorization)
      guard response.status.code == 401 || (response.status.code == 403 && authorization == nil) else {
        if response.status.code == 403 { throw denied(repository, "403 Forbidden") }
        return response
      }
      let challenges = response.headers[canonicalForm: "WWW-Authenticate"].map(String.init)
      // The same answer after we did what it asked for is final.
      guard let challenge = challenges.lazy.compactMap(AuthenticationChallenge.init).first ?? basic(repository) else {
        throw denied(repository, "\(response.status.code)")
      }
      let refused = authorization
      try await authenticate(repository, challenge)
      if refused != nil, self.authorization(for: repository) == refused { throw denied(repository, "401 Unauthorized") }
    }
    throw denied(repository, "401 Unauthorized again and again")
  }

  /// Some registries hide their challenge behind a 401 without a header.
  private func basic(_ repository: Repository) -> AuthenticationChallenge? {
    if case .password = repository.secret { return .basic }
    return nil
  }

  func denied(_ repository: Repository, _ answer: String) -> ImageError {
    let who = repository.secret == .none ? "without credentials" : "with the given credentials"
    return ImageError(
      .denied, "registry \(repository.origin.name) refuses access to \(repository.reference) \(who): \(answer)")
  }

  private func following(
    _ repository: Repository, _ start: String, _ headers: [(String, String)], _ authorization: String?
  ) async throws -> HTTPClientResponse {
    var url = start
    for _ in 0...10 {
      guard let origin = RegistryOrigin(url: url) else {
        throw ImageError(.denied, "registry \(repository.origin.name) redirects to something that is no web address")
      }
      var request = HTTPClientRequest(url: url)
      request.headers = HTTPHeaders(headers)
      if let authorization, origin == repository.origin {
        request.headers.add(name: "Authorization", value: authorization)
      }
      let response = try await send(request)
      guard [301, 302, 303, 307, 308].contains(response.status.code) else { return response }
      guard let location = response.headers.first(name: "Location") else {
        throw ImageError(.denied, "registry \(repository.origin.name) redirects to nowhere")
      }
      url = location.hasPrefix("/") && !location.hasPrefix("//") ? "\(origin)\(location)" : location
      if let next = RegistryOrigin(url: url), origin.isSecure, !next.isSecure {
        throw ImageError(.denied, "registry \(repository.origin.name) redirects from https to \(next)")
      }
    }
    throw ImageError(.denied, "registry \(repository.origin.name) redirects more than 10 times")
  }
}
