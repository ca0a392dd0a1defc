import CRIProtocol
import SwiftProtobuf

/// Getting images, for every command that needs one.
struct ImageFetch: Sendable {
  let connection: RuntimeConnection

  /// - Returns: what the runtime calls the image, its id or its digest reference.
  func pull(_ image: String, auth: Runtime_V1_AuthConfig? = nil) async throws -> String {
    let request = Runtime_V1_PullImageRequest.with {
      $0.image.image = image
      if let auth { $0.auth = auth }
    }
    do {
      return try await connection.call("pull \(image)", waiting: "pulling \(image)", deadline: nil) {
        connection, options in
        try await connection.images.pullImage(request, options: options).imageRef
      }
    } catch var error as ClientError where error.status == .notFound {
      error.remedy = "check the name; without a registry, swiftlet load FILE brings an image from an archive"
      throw error
    }
  }

  /// - Returns: nil when the runtime does not have the image.
  func status(_ image: String) async throws -> Runtime_V1_Image? {
    let response = try await connection.call("look up image \(image)", deadline: .seconds(30)) { connection, options in
      try await connection.images.imageStatus(.with { $0.image.image = image }, options: options)
    }
    return response.hasImage && !response.image.id.isEmpty ? response.image : nil
  }

  func list() async throws -> [Runtime_V1_Image] {
    try await connection.call("list the images", deadline: .seconds(30)) { connection, options in
      try await connection.images.listImages(.init(), options: options).images
    }
  }

  /// A tag of each image that has one, by the image's id.
  func tags() async throws -> [String: String] {
    let images = try await list()
    return Dictionary(images.compactMap { image in image.repoTags.first.map { (image.id, $0) } }) { first, _ in first }
  }
}
