internal import CLinux
internal import Glibc
internal import LinuxSystem

/// Tells when anything in a directory changes (inotify(7)): files written in place, renamed over, or symbolic links
/// exchanged as in a mounted ConfigMap.
final class DirectoryWatch: Sendable {
  private let events: SharedFD
  private let wake: SharedFD
  private let threads = BlockingPool(threads: 1)

  init(_ directory: String) throws(RegistryError) {
    let raw = inotify_init1(Int32(IN_CLOEXEC | IN_NONBLOCK))
    guard raw >= 0 else { throw .file(path: directory, reason: "inotify: errno \(errno)") }
    events = SharedFD(OwnedFD(owning: raw))
    let bell = clinux_host_eventfd()
    guard bell >= 0 else { throw .file(path: directory, reason: "eventfd: errno \(-bell)") }
    wake = SharedFD(OwnedFD(owning: bell))
    let mask = UInt32(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF)
    guard inotify_add_watch(raw, directory, mask) >= 0 else {
      throw .file(path: directory, reason: "inotify: errno \(errno)")
    }
  }

  /// Waits for a change.
  /// - Returns: false when none came in time.
  /// - Throws: CancellationError; `file` once the directory itself is gone.
  func change(within patience: Duration) async throws -> Bool {
    let milliseconds = Int32(clamping: patience.components.seconds * 1000)
    let (events, wake) = (events, wake)
    return try await withTaskCancellationHandler {
      try await threads.run {
        var waiting = [events.raw, wake.raw].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        let count = poll(&waiting, 2, milliseconds)
        if waiting[1].revents != 0 { throw CancellationError() }
        guard count > 0 else { return false }
        guard Self.drain(events.raw) else { throw RegistryError.file(path: "directory", reason: "is gone") }
        return true
      }
    } onCancel: {
      var one: UInt64 = 1
      _ = write(wake.raw, &one, 8)
    }
  }

  /// - Returns: false when the watched directory is gone.
  private static func drain(_ raw: Int32) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 16 << 10)
    var isThere = true
    while true {
      let count = read(raw, &buffer, buffer.count)
      guard count > 0 else { return isThere }
      var offset = 0
      while offset + MemoryLayout<inotify_event>.size <= count {
        let event = buffer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: inotify_event.self) }
        if event.mask & UInt32(IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF) != 0 { isThere = false }
        offset += MemoryLayout<inotify_event>.size + Int(event.len)
      }
    }
  }
}
