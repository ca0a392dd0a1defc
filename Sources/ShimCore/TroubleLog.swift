import CLinux

/// `shim.log` in the pod's directory: made only when something goes wrong, and small.
final class TroubleLog {
  private static let largest: Int64 = 1 << 20

  private let path: String

  init(directory: String) {
    path = directory + "/shim.log"
  }

  /// Adds a line with the time before it.
  func write(_ line: String) {
    let file = path.withCString { clinux_open($0, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600) }
    guard file >= 0 else { return }
    defer { _ = close(file) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_size < TroubleLog.largest else { return }
    var bytes = [UInt8](repeating: 0x20, count: Timestamp.size + 1)
    bytes.withUnsafeMutableBytes { Timestamp.store(wallClock(), to: $0) }
    bytes.append(contentsOf: line.utf8)
    bytes.append(10)
    _ = bytes.withUnsafeBytes { CLinux.write(file, $0.baseAddress, $0.count) }
  }
}
