import CRIProtocol
import RuntimeModel
import ShimProtocol

/// The `VOLUME`s of an image's config that a container gets a directory of its own for.
///
/// An image's word is the lowest: a mount of the request at the same path takes its place, and what we mount ourselves is
/// not an image's to replace, so that those at and below /proc, /sys and /dev and at our own files are passed over
/// (ATTACKS V7, L05).
struct DeclaredVolumes: Sendable {
  /// Clean and absolute, without duplicates, in the config's order.
  let paths: [String]

  /// More than any honest image has.
  static let most = 256
  private static let reserved = ["/proc", "/sys", "/dev"]
  private static let own: Set<String> = ["/", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]

  /// - Parameters:
  ///   - declared: keys of the config's `Volumes`.
  ///   - image: for the error.
  /// - Throws: `failedPrecondition` for more than ``most``, or a path that is none.
  init(_ declared: [String], requested: [Runtime_V1_Mount], image: String) throws(RuntimeError) {
    guard declared.count <= Self.most else {
      throw RuntimeError(
        .failedPrecondition, "image \(image) declares \(declared.count) VOLUMEs; at most \(Self.most) are made")
    }
    var taken = Set(requested.map { MountPlan.cleaned($0.containerPath) })
    var paths: [String] = []
    for path in declared {
      guard !path.utf8.contains(0), path.utf8.count < 4096 else {
        throw RuntimeError(.failedPrecondition, "image \(image) declares a VOLUME that is no path")
      }
      let clean = MountPlan.cleaned(path)
      let isReserved = Self.own.contains(clean) || Self.reserved.contains { clean == $0 || clean.isBelow($0) }
      if !isReserved, taken.insert(clean).inserted { paths.append(clean) }
    }
    self.paths = paths
  }

  /// The mounts, those first that are not below a mount of the request. They come before everything else of the
  /// container, so that one whose path is a link of the image's to /proc or /dev is covered by the real one.
  ///
  /// - Parameter directories: of the node, one for each of `paths`.
  static func mounts(
    _ paths: [String], directories: [String], requested: [Swiftlet_Shim_V1_Mount]
  ) -> (first: [Swiftlet_Shim_V1_Mount], inOrder: [Swiftlet_Shim_V1_Mount]) {
    var first: [Swiftlet_Shim_V1_Mount] = []
    var inOrder: [Swiftlet_Shim_V1_Mount] = []
    for (path, directory) in zip(paths, directories) {
      var mount = Swiftlet_Shim_V1_Mount()
      mount.type = "bind"
      mount.source = directory
      mount.destination = path
      if requested.contains(where: { path.isBelow($0.destination) }) {
        inOrder.append(mount)
      } else {
        first.append(mount)
      }
    }
    return (first.sorted { MountPlan.depth($0.destination) < MountPlan.depth($1.destination) }, inOrder)
  }
}
