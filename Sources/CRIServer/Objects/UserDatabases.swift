import ImageStore
import LinuxSystem
import RuntimeModel
import Synchronization
import SystemPackage

/// The passwd and group files of images, read once per image: an image's content never changes under its id.
final class UserDatabases: Sendable {
  /// A file larger than this is refused: nobody's passwd is, and an image must not fill the daemon (ATTACKS V9).
  private static let limit = 1 << 20
  private static let capacity = 64

  private let images: ImageStore
  private let cache = Mutex<[String: UserDatabase]>([:])

  init(images: ImageStore) { self.images = images }

  func database(of image: Image) async throws -> UserDatabase {
    if let known = cache.withLock({ $0[image.id] }) { return known }
    let database = try await images.withRoot(of: image) { root in
      UserDatabase(
        passwd: try Self.read("etc/passwd", in: root), group: try Self.read("etc/group", in: root))
    }
    cache.withLock { cache in
      if cache.count >= Self.capacity { cache.removeAll() }
      cache[image.id] = database
    }
    return database
  }

  /// nil when the image has no such file.
  private static func read(_ path: String, in root: borrowing RootHandle) throws -> [UInt8]? {
    do throws(SystemCallError) {
      return try root.readFile(path, limit: limit)
    } catch {
      if error.errno == .noSuchFileOrDirectory || error.errno == .notDirectory { return nil }
      // What the image made of it, and no trouble of the node's.
      guard [.invalidArgument, .fileTooLarge, .tooManySymbolicLinkLevels].contains(error.errno) else { throw error }
      throw RuntimeError(.failedPrecondition, "image: \(error)")
    }
  }
}
