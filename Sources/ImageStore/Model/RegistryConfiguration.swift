/// How registries are reached.
package struct RegistryConfiguration: Sendable, Hashable {
  /// `host` or `host:port` of registries that are spoken to over plain HTTP and trusted with credentials there.
  /// Loopback (127.0.0.0/8, ::1, localhost) needs no entry.
  package var insecure: Set<String> = []
  /// Time to establish a connection.
  package var connectTimeout: Duration = .seconds(10)
  /// Longest time without a byte before a request is given up (no limit on the whole).
  package var stallTimeout: Duration = .seconds(60)
  /// Tries of one request or blob before its error is final.
  package var attempts = 3
  /// Layers of one image downloaded at the same time.
  package var parallelDownloads = 3
  /// Bounds on what an image may make us do.
  package var limits = ImageLimits()

  package init() {}
}

/// Bounds on untrusted images (ATTACKS.md I06-I09).
package struct ImageLimits: Sendable, Hashable {
  /// Bytes of a manifest or index.
  package var manifestBytes = 4 << 20
  /// Bytes of an image config.
  package var configurationBytes = 8 << 20
  /// Indexes inside indexes.
  package var indexDepth = 3
  /// Descriptors of one image, over all its indexes.
  package var descriptors = 256
  /// Layers of one image; overlayfs takes 500.
  package var layers = 500
  /// Entries of one layer.
  package var entries = 2_000_000
  /// Directories of one layer.
  package var directories = 500_000
  /// Files of an archive of images.
  package var archiveFiles = 100_000
  /// Bytes of the paths, together, of what is remembered of one layer, of a `VOLUME`, or of an archive of images.
  package var pathBytes = 64 << 20
  /// Bytes of one layer's tar, uncompressed; and of what its links copy.
  package var expandedBytes: UInt64 = 64 << 30
  /// Bytes that are left free on the disk while a layer is written.
  package var reserveBytes: UInt64 = 64 << 20
  /// Bytes of an entry's name or link target (PATH_MAX).
  package var nameBytes = 4_096
  /// Components that may be walked to find the directories of one layer.
  package var resolutionSteps = 20_000_000
  /// Bytes of one entry's headers with all its extensions.
  package var headerBytes = 4 << 20

  package init() {}
}

/// Who we are to a registry: CRI `AuthConfig`.
package struct RegistryCredentials: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible {
  package var username: String
  package var password: String
  /// base64 of `username:password`.
  package var auth: String
  /// The host these are for; empty: the image's own.
  package var serverAddress: String
  /// A refresh token for the registry's token service.
  package var identityToken: String
  /// A ready bearer token.
  package var registryToken: String

  package init(
    username: String = "", password: String = "", auth: String = "", serverAddress: String = "",
    identityToken: String = "", registryToken: String = ""
  ) {
    self.username = username
    self.password = password
    self.auth = auth
    self.serverAddress = serverAddress
    self.identityToken = identityToken
    self.registryToken = registryToken
  }

  /// Without any secret, so that a log line may hold it.
  package var description: String {
    let parts = [
      username.isEmpty ? nil : "username \(username)",
      password.isEmpty ? nil : "password ***",
      auth.isEmpty ? nil : "auth ***",
      identityToken.isEmpty ? nil : "identity token ***",
      registryToken.isEmpty ? nil : "registry token ***",
    ]
    return "credentials(\(parts.compactMap { $0 }.joined(separator: ", ")))"
  }

  package var debugDescription: String { description }
}
