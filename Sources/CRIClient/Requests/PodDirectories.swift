import Foundation
import Glibc

/// The directories and files on this node that a pod needs before it starts, as kubelet would make them.
enum PodDirectories {
  /// Makes the log directories and the `emptyDir` volumes, and looks at what `hostPath` volumes name.
  ///
  /// - Throws: ``ClientError`` naming the path.
  static func prepare(_ pod: PodManifest, _ plan: PodPlan) throws(ClientError) {
    for container in pod.containers {
      try make("\(plan.logDirectory(pod))/\(container.name)", mode: 0o755, for: "the log directory")
    }
    for volume in pod.volumes {
      switch volume.source {
      case .emptyDirectory:
        let path = plan.emptyDirectory(volume.name)
        try make(path, mode: 0o755, for: "volume \(volume.name)")
        // Any user of a container may write to it, as Kubernetes promises; the way to it is root's alone.
        guard chmod(path, 0o777) == 0, chmod(plan.volumeDirectory, 0o700) == 0 else {
          throw failure("volume \(volume.name): chmod \(path)")
        }
      case .hostPath(let path, let type):
        try check(path, type, volume: volume.name)
      }
    }
  }

  private static func make(_ path: String, mode: Int, for purpose: String) throws(ClientError) {
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: mode])
    } catch {
      throw ClientError(.failed, "cannot make \(purpose) \(path)", why: error.localizedDescription)
    }
  }

  private static func check(
    _ path: String, _ type: VolumeManifest.HostPathType, volume: String
  ) throws(ClientError) {
    var status = stat()
    let isThere = stat(path, &status) == 0
    let format = status.st_mode & S_IFMT
    let wanted: mode_t
    switch type {
    case .unchecked: return
    case .directoryOrCreate:
      guard isThere else { return try make(path, mode: 0o755, for: "volume \(volume)") }
      wanted = S_IFDIR
    case .fileOrCreate:
      guard isThere else {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failure("volume \(volume): create \(path)") }
        close(descriptor)
        return
      }
      wanted = S_IFREG
    case .directory: wanted = S_IFDIR
    case .file: wanted = S_IFREG
    case .socket: wanted = S_IFSOCK
    case .characterDevice: wanted = S_IFCHR
    case .blockDevice: wanted = S_IFBLK
    }
    guard isThere else { throw ClientError(.failed, "cannot use volume \(volume)", why: "\(path) is not there") }
    guard format == wanted else {
      throw ClientError(.failed, "cannot use volume \(volume)", why: "\(path) is not of type \(type.rawValue)")
    }
  }

  private static func failure(_ what: String) -> ClientError {
    ClientError(.failed, "cannot prepare \(what)", why: String(cString: strerror(errno)))
  }
}
