import Testing

@testable import ImageStore

@Suite struct RegistryOriginTests {
  @Test(arguments: [
    ("registry.k8s.io", "https://registry.k8s.io"), ("localhost", "http://localhost"),
    ("localhost:5000", "http://localhost:5000"), ("127.0.0.1:5000", "http://127.0.0.1:5000"),
    ("127.9.9.9", "http://127.9.9.9"), ("[::1]:5000", "http://[::1]:5000"),
    ("127.0.0.1.evil.example", "https://127.0.0.1.evil.example"),
    ("127.0.0.256", "https://127.0.0.256"), ("lab:80", "http://lab"), ("lab:443", "https://lab"),
    ("10.0.0.1:5000", "https://10.0.0.1:5000"),
  ])
  func scheme(_ authority: String, _ url: String) {
    #expect(RegistryOrigin(registry: authority, insecure: ["lab:80"]).description == url)
  }

  @Test func sameOriginWhateverTheSpelling() {
    #expect(RegistryOrigin(url: "https://A.example/x") == RegistryOrigin(url: "https://a.example:443?y"))
    #expect(RegistryOrigin(url: "http://a.example") != RegistryOrigin(url: "https://a.example"))
    #expect(RegistryOrigin(url: "https://a.example:444") != RegistryOrigin(url: "https://a.example"))
  }

  @Test(arguments: [
    "", "ftp://a/b", "https://", "https://user@host/", "https://a\\@b/", "//host/x", "/x", "file:///etc/passwd",
  ])
  func noOrigin(_ url: String) { #expect(RegistryOrigin(url: url) == nil) }

  @Test(arguments: [
    ("Basic realm=\"x\"", AuthenticationChallenge?.some(.basic)), ("basic", .basic),
    (
      "Bearer realm=\"https://auth.x/token\",service=\"s\",scope=\"repository:a/b:pull\"",
      .bearer(realm: "https://auth.x/token", service: "s", scope: "repository:a/b:pull")
    ),
    ("bearer realm=https://x , service=\"a\\\"b\"", .bearer(realm: "https://x", service: "a\"b", scope: nil)),
    ("Bearer service=\"x\"", nil), ("Negotiate", nil), ("", nil),
    ("Bearer realm=\"", .bearer(realm: "", service: nil, scope: nil)),
  ])
  func challenge(_ header: String, _ expected: AuthenticationChallenge?) {
    #expect(AuthenticationChallenge(header) == expected)
  }

  /// CRI.md 7.3, "AuthConfig order".
  @Test func secrets() throws {
    let reference = try ImageReference("registry.example:5000/a")
    func secret(_ credentials: RegistryCredentials) -> Secret { Secret(credentials, for: reference) }
    let both = RegistryCredentials(username: "u", password: "p", auth: "eDp5", identityToken: "t", registryToken: "r")
    #expect(secret(both) == .password(username: "u", password: "p"))
    #expect(secret(.init(auth: "eDp5", identityToken: "t")) == .identity("t"))
    #expect(secret(.init(auth: "eDp5", registryToken: "r")) == .password(username: "x", password: "y"))
    #expect(secret(.init(auth: "eDp5AAA=")) == .password(username: "x", password: "y"))
    #expect(secret(.init(registryToken: "r")) == .bearer("r"))
    #expect(secret(.init(auth: "???")) == .none)
    #expect(secret(.init(username: "u", serverAddress: "other.example")) == .none)
    #expect(secret(.init(username: "u", serverAddress: "https://registry.example:5000/v1/")) != .none)
    #expect(Secret(nil, for: reference) == .none)
    let docker = try ImageReference("busybox")
    let hub = RegistryCredentials(username: "u", password: "p", serverAddress: "https://index.docker.io/v1/")
    #expect(Secret(hub, for: docker) != .none)
  }

  @Test func credentialsAreMasked() {
    let text =
      "\(RegistryCredentials(username: "u", password: "hunter2", auth: "c2VjcmV0", identityToken: "tok", registryToken: "reg"))"
    for secret in ["hunter2", "c2VjcmV0", "tok\"", "reg\""] { #expect(!text.contains(secret)) }
    #expect(text.contains("***"))
  }
}
