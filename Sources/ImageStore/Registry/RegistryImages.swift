import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// What a reference means in its registry.
struct ResolvedImage: Sendable {
  /// Of what the name stands for: the index where there is one.
  var digest: ContentDigest
  var document: ConfigurationDocument
  /// One for each layer of `document`.
  var blobs: [Descriptor]
}

extension RegistryClient {
  /// Finds the image for this machine behind a name, down to its config.
  ///
  /// - Throws: ``ImageError``: `notFound`, `noPlatform`, `malformed`, `corrupt`, `limit`, `unsupported`, and as ``get``.
  func resolve(_ repository: Repository) async throws -> ResolvedImage {
    let limits = configuration.limits
    let reference = repository.reference
    var found = try await manifest(repository, reference.target, expected: reference.digest.map { ($0, nil) })
    let top = found.digest
    var seen: Set<ContentDigest> = [top]
    var budget = limits.descriptors
    var isChosen = false
    for _ in 0...limits.indexDepth {
      switch found.document {
      case .index(let entries):
        budget -= entries.count
        guard budget >= 0 else { throw ImageError(.limit, "\(reference): more than \(limits.descriptors) descriptors") }
        let next = try entries.forThisMachine(reference.description)
        isChosen = isChosen || next.platform != nil
        guard seen.insert(next.digest).inserted else {
          throw ImageError(.malformed, "\(reference): index \(next.digest) contains itself")
        }
        found = try await manifest(
          repository, next.digest.text, expected: (next.digest, next.size), mediaType: next.mediaType)
      case .manifest(let config, let layers):
        let bytes = try await blob(repository, config, limit: limits.configurationBytes)
        let document = try ConfigurationDocument(bytes, limits: limits, name: "config \(config.digest) of \(reference)")
        guard document.layers.count == layers.count else {
          throw ImageError(
            .malformed,
            "\(reference): its config names \(document.layers.count) layers and its manifest \(layers.count)")
        }
        let architecture = document.configuration.architecture
        guard isChosen || architecture.isEmpty || architecture == "amd64" else {
          throw ImageError(.noPlatform, "\(reference) has no image for linux/amd64; it has: linux/\(architecture)")
        }
        return ResolvedImage(digest: top, document: document, blobs: layers)
      }
    }
    throw ImageError(.limit, "\(reference): an index deeper than \(limits.indexDepth)")
  }

  private func manifest(
    _ repository: Repository, _ target: String, expected: (digest: ContentDigest, size: Int64?)?,
    mediaType: String? = nil
  ) async throws -> (document: ManifestDocument, digest: ContentDigest) {
    let limits = configuration.limits
    let accept = [("Accept", ManifestDocument.acceptedTypes.joined(separator: ", "))]
    let (bytes, response) = try await whole(
      repository, "manifests/\(target)", headers: accept, limit: limits.manifestBytes, name: "manifest \(target)")
    var hasher = ContentHasher(expected?.digest.algorithm ?? .sha256)
    hasher.update(bytes)
    let digest = hasher.finish()
    let name = "manifest \(target) of \(repository.reference.name)"
    if let expected {
      guard digest == expected.digest else { throw ImageError(.corrupt, "\(name) has the digest \(digest)") }
      guard expected.size.map({ $0 == Int64(bytes.count) }) ?? true else {
        throw ImageError(.corrupt, "\(name) has \(bytes.count) bytes, not \(expected.size ?? 0)")
      }
    } else if let said = response.headers.first(name: "Docker-Content-Digest"), said.hasPrefix("sha256:") {
      guard said == digest.text else { throw ImageError(.corrupt, "\(name) has the digest \(digest), not \(said)") }
    }
    let said = response.headers.first(name: "Content-Type")
    let document = try ManifestDocument(bytes, mediaType: said, name: name)
    if let mediaType { _ = try ManifestDocument(bytes, mediaType: mediaType, name: name) }
    return (document, digest)
  }

  private func blob(_ repository: Repository, _ descriptor: Descriptor, limit: Int) async throws -> [UInt8] {
    let name = "blob \(descriptor.digest) of \(repository.reference.name)"
    guard (0...Int64(limit)).contains(descriptor.size) else {
      throw ImageError(.limit, "\(name) has \(descriptor.size) bytes, of \(limit) allowed")
    }
    let (bytes, _) = try await whole(
      repository, "blobs/\(descriptor.digest)", limit: Int(descriptor.size), name: name)
    guard bytes.count == Int(descriptor.size) else {
      throw ImageError(.corrupt, "\(name) ends after \(bytes.count) of \(descriptor.size) bytes")
    }
    var hasher = ContentHasher(descriptor.digest.algorithm)
    hasher.update(bytes)
    let digest = hasher.finish()
    guard digest == descriptor.digest else { throw ImageError(.corrupt, "\(name) has the digest \(digest)") }
    return bytes
  }

  /// A small thing, all of it, tried again where the connection breaks.
  private func whole(
    _ repository: Repository, _ path: String, headers: [(String, String)] = [], limit: Int, name: String
  ) async throws -> ([UInt8], HTTPClientResponse) {
    var attempt = 1
    while true {
      let response = try await get(repository, path, headers: headers)
      guard response.status.code == 200 else {
        throw ImageError(.notFound, "\(repository.reference) is not in registry \(repository.origin.name)")
      }
      do {
        return (try await collect(response, limit: limit, name: name), response)
      } catch let error as ImageError {
        throw error
      } catch {
        try Task.checkCancellation()
        guard attempt < configuration.attempts else {
          throw ImageError(.registryUnavailable, "registry \(repository.origin.name): \(name): \(Self.reason(error))")
        }
        attempt += 1
      }
    }
  }
}
