import FoundationEssentials

/// Points at a blob (OCI image-spec, descriptor.md). Unknown fields are passed over.
struct Descriptor: Codable, Hashable, Sendable {
  struct Platform: Codable, Hashable, Sendable {
    var architecture: String?
    var os: String?
    var variant: String?

    var text: String { [os ?? "?", architecture ?? "?", variant].compactMap { $0 }.joined(separator: "/") }
  }

  var mediaType: String?
  var digest: ContentDigest
  var size: Int64
  var platform: Platform?
  var annotations: [String: String]?
}

/// A manifest or an index, told apart by what it holds and never by what somebody calls it (ATTACKS.md I09).
enum ManifestDocument {
  case manifest(config: Descriptor, layers: [Descriptor])
  case index([Descriptor])

  private struct Body: Decodable {
    var schemaVersion: Int?
    var mediaType: String?
    var config: Descriptor?
    var layers: [Descriptor]?
    var manifests: [Descriptor]?
  }

  /// - Parameters:
  ///   - mediaType: what the registry or the descriptor says; nil or something vague is no contradiction.
  ///   - name: for the error text.
  /// - Throws: ``ImageError`` of kind `malformed` or `unsupported`.
  init(_ bytes: [UInt8], mediaType: String?, name: String) throws(ImageError) {
    let body = try decodeDocument(Body.self, bytes, name)
    if body.schemaVersion == 1 { throw ImageError(.unsupported, "\(name) is a manifest of Docker schema 1") }
    let isIndex = body.manifests != nil
    guard isIndex != (body.config != nil || body.layers != nil) else {
      throw ImageError(.malformed, "\(name) is not one of manifest and index")
    }
    for said in [body.mediaType, mediaType] {
      guard let said, let saysIndex = Self.isIndex(said) else { continue }
      guard saysIndex == isIndex else { throw ImageError(.malformed, "\(name) is not a \(said.prefix(100))") }
    }
    if let manifests = body.manifests {
      self = .index(manifests)
    } else {
      guard let config = body.config, let layers = body.layers else {
        throw ImageError(.malformed, "\(name) has no config or no layers")
      }
      self = .manifest(config: config, layers: layers)
    }
  }

  /// - Returns: nil for a type that says neither.
  private static func isIndex(_ mediaType: String) -> Bool? {
    let type = mediaType.split(separator: ";")[0]
    if type.hasSuffix(".image.index.v1+json") || type.hasSuffix(".manifest.list.v2+json") { return true }
    if type.hasSuffix(".image.manifest.v1+json") || type.hasSuffix(".distribution.manifest.v2+json") { return false }
    return nil
  }

  /// Types that a registry is asked for, ours first.
  static let acceptedTypes = [
    "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
    "*/*",
  ]
}

extension [Descriptor] {
  /// The entry for this machine, linux/amd64 (CRI.md 7.4): the plainest variant, and of equals the first.
  ///
  /// - Throws: ``ImageError`` of kind `noPlatform`, with what there is.
  func forThisMachine(_ name: String) throws(ImageError) -> Descriptor {
    let ranks = ["": 0, "v1": 0, "v2": 1]
    var best: (rank: Int, descriptor: Descriptor)?
    for descriptor in self {
      guard let platform = descriptor.platform else { continue }
      guard platform.os == "linux", platform.architecture == "amd64" else { continue }
      // v3 and v4 want instructions that not every machine has.
      guard let rank = ranks[platform.variant ?? ""] else { continue }
      if best.map({ rank < $0.rank }) ?? true { best = (rank, descriptor) }
    }
    if let best { return best.descriptor }
    // An index that says nothing about platforms and has one image can only mean that.
    if count == 1, self[0].platform == nil { return self[0] }
    let known = compactMap { $0.platform?.text }.filter { $0 != "unknown/unknown" }
    let list = known.isEmpty ? "none" : known.prefix(32).joined(separator: ", ")
    throw ImageError(.noPlatform, "\(name) has no image for linux/amd64; it has: \(list)")
  }
}

/// An image's config blob, checked.
struct ConfigurationDocument {
  let id: ContentDigest
  let configuration: ImageConfiguration
  let layers: [ImageLayer]
  let text: String

  private struct Body: Decodable {
    struct Process: Decodable {
      struct Nothing: Decodable {}
      var User: String?
      var Env: [String]?
      var Entrypoint: [String]?
      var Cmd: [String]?
      var WorkingDir: String?
      var Volumes: [String: Nothing]?
      var StopSignal: String?
      var Labels: [String: String]?
    }
    struct RootFS: Decodable {
      var diff_ids: [ContentDigest]?
    }
    var architecture: String?
    var os: String?
    var config: Process?
    var rootfs: RootFS?
  }

  /// - Throws: ``ImageError``: `malformed`, `limit`, or `unsupported` for an image of another system than Linux.
  init(_ bytes: [UInt8], limits: ImageLimits, name: String) throws(ImageError) {
    let body = try decodeDocument(Body.self, bytes, name)
    guard let diffIDs = body.rootfs?.diff_ids else {
      throw ImageError(.unsupported, "\(name) is not the config of an image: it names no layers")
    }
    guard diffIDs.count <= limits.layers else {
      throw ImageError(.limit, "\(name) has \(diffIDs.count) layers, of \(limits.layers) possible")
    }
    guard body.os ?? "linux" == "linux" || body.os == "" else {
      throw ImageError(.noPlatform, "\(name) is for \(body.os ?? "?"), not for linux")
    }
    var result = ImageConfiguration()
    result.user = body.config?.User ?? ""
    result.env = body.config?.Env ?? []
    result.entrypoint = body.config?.Entrypoint ?? []
    result.cmd = body.config?.Cmd ?? []
    result.workingDir = body.config?.WorkingDir ?? ""
    result.volumes = (body.config?.Volumes ?? [:]).keys.sorted()
    result.stopSignal = body.config?.StopSignal ?? ""
    result.labels = body.config?.Labels ?? [:]
    result.architecture = body.architecture ?? ""
    result.os = body.os ?? ""
    id = ContentDigest(of: bytes)
    configuration = result
    layers = ImageLayer.chain(of: diffIDs)
    text = String(decoding: bytes, as: UTF8.self)
  }
}

/// Reads JSON that nobody vouches for; its size was bounded before.
///
/// - Throws: ``ImageError`` of kind `malformed`.
func decodeDocument<T: Decodable>(_ type: T.Type, _ bytes: [UInt8], _ name: String) throws(ImageError) -> T {
  guard String(validating: bytes, as: UTF8.self) != nil else { throw ImageError(.malformed, "\(name) is not UTF-8") }
  do {
    return try JSONDecoder().decode(type, from: Data(bytes))
  } catch let error as DecodingError {
    throw ImageError(.malformed, "\(name): \(reason(error))")
  } catch {
    throw ImageError(.malformed, "\(name) cannot be read")
  }
}

private func reason(_ error: DecodingError) -> String {
  func place(_ context: DecodingError.Context) -> String {
    let path = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
    return path.isEmpty ? "" : "\(path): "
  }
  return switch error {
  case .keyNotFound(let key, let context): "\(place(context))no \(key.stringValue)"
  case .valueNotFound(_, let context): "\(place(context))no value"
  case .typeMismatch(_, let context): "\(place(context))wrong type"
  case .dataCorrupted(let context):
    context.codingPath.isEmpty ? "not JSON" : "\(place(context))\(context.debugDescription)"
  @unknown default: "not as expected"
  }
}
