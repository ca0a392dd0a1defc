import CRIProtocol
import RuntimeModel
import ShimProtocol

/// An image that a request wants mounted (KEP-4639): its root, or a directory of it, read-only.
struct ImageVolume: Sendable {
  /// What every failure's text begins with: kubelet makes it the pod's waiting reason.
  static let failure = "ImageVolumeMountFailed"

  /// `sha256:…`, what Status gives as the mount's `image_ref`.
  var imageID: String
  /// Topmost first; at least two.
  var layers: [String]

  /// The checks that need no image.
  ///
  /// - Throws: `invalidArgument` naming the field.
  static func check(_ mount: Runtime_V1_Mount, field: String) throws(RuntimeError) {
    func refuse(_ name: String, _ reason: String) -> RuntimeError {
      RuntimeError(.invalidArgument, "\(failure): \(field).\(name): \(reason)")
    }
    guard !mount.image.image.isEmpty else { throw refuse("image.image", "is empty, and there is no host_path") }
    guard mount.hostPath.isEmpty else { throw refuse("host_path", "must be empty beside an image") }
    guard mount.readonly else { throw refuse("readonly", "must be true for an image") }
    guard mount.propagation == .propagationPrivate else {
      throw refuse("propagation", "nothing is ever mounted below an image, only PROPAGATION_PRIVATE fits")
    }
    let subPath = mount.imageSubPath
    guard !subPath.hasPrefix("/"), !subPath.pathComponents.contains(".."), !subPath.utf8.contains(0) else {
      throw refuse("image_sub_path", "\"\(subPath)\" is not a path below the image's root")
    }
  }

  /// For the shim; flags and destination are the caller's.
  func apply(to mount: inout Swiftlet_Shim_V1_Mount, subPath: String) {
    mount.type = "image"
    mount.layers = layers
    mount.subPath = subPath
    mount.readonly = true
    // A node of an image is nobody's to open (ATTACKS I12).
    mount.nodev = true
  }
}

extension Runtime_V1_Mount {
  /// Whether an image is wanted. A message without a name beside a host path is none: clients send empty ones.
  var wantsImage: Bool { hasImage && (!image.image.isEmpty || hostPath.isEmpty) }
}
