internal import Glibc
internal import SystemPackage

/// Reads a file of the kernel's or of ours in one go.
///
/// - Throws: EFBIG when it holds more than `limit` bytes.
package func readSmallFile(_ path: String, limit: Int) throws(SystemCallError) -> [UInt8] {
  try OwnedFD.open(path, flags: O_RDONLY | O_NOCTTY).withRawDescriptor { (raw) throws(SystemCallError) in
    try readAll(raw, limit: limit, subject: path)
  }
}

/// Writes `text` with one write(2), as the files of cgroups and sysctls want it.
package func writeKernelFile(_ path: String, _ text: String) throws(SystemCallError) {
  let raw = try checked("open", path) { open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY) }
  defer { close(raw) }
  var text = text
  let failure = text.withUTF8 { bytes -> SystemCallError? in
    while write(raw, bytes.baseAddress, bytes.count) < 0 {
      if errno != EINTR { return SystemCallError(call: "write", subject: path) }
    }
    return nil
  }
  if var failure {
    failure.subject = "\(path) (value \(text.prefix(200)))"
    throw failure
  }
}

/// Reads from the descriptor's position to the end.
func readAll(_ raw: Int32, limit: Int, subject: String) throws(SystemCallError) -> [UInt8] {
  var bytes: [UInt8] = []
  while true {
    let wanted = min(max(4096, bytes.count), limit - bytes.count + 1)
    var failure: SystemCallError?
    let chunk = [UInt8](unsafeUninitializedCapacity: wanted) { buffer, count in
      var got = read(raw, buffer.baseAddress, wanted)
      while got < 0 && errno == EINTR { got = read(raw, buffer.baseAddress, wanted) }
      if got < 0 { failure = SystemCallError(call: "read", subject: subject) }
      count = max(0, got)
    }
    if let failure { throw failure }
    if chunk.isEmpty { return bytes }
    if bytes.isEmpty { bytes = chunk } else { bytes += chunk }
    if bytes.count > limit { throw SystemCallError(call: "read", errno: .fileTooLarge, subject: subject) }
  }
}

/// Writes everything, however many calls it takes.
func writeAll(_ raw: Int32, _ bytes: [UInt8], subject: String) throws(SystemCallError) {
  var failure: SystemCallError?
  bytes.withUnsafeBytes { buffer in
    var offset = 0
    while offset < buffer.count {
      let count = write(raw, buffer.baseAddress.map { $0 + offset }, buffer.count - offset)
      if count >= 0 {
        offset += count
      } else if errno != EINTR {
        failure = SystemCallError(call: "write", subject: subject)
        return
      }
    }
  }
  if let failure { throw failure }
}
