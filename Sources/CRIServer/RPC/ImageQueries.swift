import CRIProtocol
import FoundationEssentials
import GRPCCore
import ImageStore
import RuntimeModel

extension ImageService {
  /// All images, or the one that the filter names.
  func listImages(
    request: Runtime_V1_ListImagesRequest, context: ServerContext
  ) async throws -> Runtime_V1_ListImagesResponse {
    var response = Runtime_V1_ListImagesResponse()
    let name = request.filter.image.image
    if name.isEmpty {
      response.images = daemon.images.list().map(Runtime_V1_Image.init)
    } else if let image = try daemon.images.find(name) {
      response.images = [Runtime_V1_Image(image)]
    }
    return response
  }

  /// An absent image is a success without `image`, never NotFound.
  func imageStatus(
    request: Runtime_V1_ImageStatusRequest, context: ServerContext
  ) async throws -> Runtime_V1_ImageStatusResponse {
    var response = Runtime_V1_ImageStatusResponse()
    guard let image = try daemon.images.find(try request.image.name()) else { return response }
    response.image = Runtime_V1_Image(image)
    if request.verbose {
      response.info["info"] = "{\"chainID\":\"\(image.chainID)\",\"imageSpec\":\(image.configJSON)}"
    }
    return response
  }

  /// kubelet takes the first entry, and uses this RPC as its connection check: it works with no images.
  func imageFsInfo(
    request: Runtime_V1_ImageFsInfoRequest, context: ServerContext
  ) async throws -> Runtime_V1_ImageFsInfoResponse {
    let usage = try await daemon.images.usage()
    var filesystem = Runtime_V1_FilesystemUsage()
    filesystem.timestamp = usage.timestamp
    filesystem.fsID.mountpoint = usage.mountpoint
    filesystem.usedBytes.value = usage.usedBytes
    filesystem.inodesUsed.value = usage.inodesUsed
    var response = Runtime_V1_ImageFsInfoResponse()
    response.imageFilesystems = [filesystem]
    return response
  }
}

extension Runtime_V1_ImageSpec {
  /// - Throws: `invalidArgument` when the request names no image.
  func name() throws(RuntimeError) -> String {
    guard !image.isEmpty else { throw RuntimeError(.invalidArgument, "image.image is empty") }
    return image
  }
}

extension Runtime_V1_Image {
  fileprivate init(_ image: Image) {
    self.init()
    id = image.id
    repoTags = image.repoTags
    repoDigests = image.repoDigests
    size = image.size
    let user = image.config.user.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
    if let number = Int64(user) { uid.value = number } else { username = String(user) }
  }
}
