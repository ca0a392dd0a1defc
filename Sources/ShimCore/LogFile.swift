import CLinux

/// A container's log: records appended, several in one write when several are at hand.
final class LogFile {
  private let path: String
  private let scratch: Scratch
  private var descriptor: Int32
  private var used = 0
  /// A write failed inside a record: the next one must begin on a line of its own.
  private var torn = false
  /// Bytes that could not be written, since the log was opened.
  private(set) var lostBytes: UInt64 = 0

  /// Opens or creates the file, 0640, its directories 0755.
  init(path: String, scratch: Scratch) throws(StepFailure) {
    descriptor = try LogFile.open(path)
    self.path = path
    self.scratch = scratch
  }

  deinit {
    closeAndForget(&descriptor)
  }

  /// Goes on in a new file at the same path. The old one stays in use when that fails.
  func reopen() throws(StepFailure) {
    let next = try LogFile.open(path)
    closeAndForget(&descriptor)
    descriptor = next
    torn = false
  }

  /// Adds a record of `prefix`, the two pieces and a newline to what `flush` writes.
  func append(_ prefix: UnsafeRawBufferPointer, _ head: UnsafeRawBufferPointer, _ tail: UnsafeRawBufferPointer) {
    let size = prefix.count + head.count + tail.count + 1
    if used + size > Scratch.outputSize { flush() }
    guard size <= Scratch.outputSize, let output = scratch.output.baseAddress else { return }
    used += LogFile.copy(prefix, to: output + used)
    used += LogFile.copy(head, to: output + used)
    used += LogFile.copy(tail, to: output + used)
    output.storeBytes(of: 10, toByteOffset: used, as: UInt8.self)
    used += 1
  }

  private static func copy(_ piece: UnsafeRawBufferPointer, to end: UnsafeMutableRawPointer) -> Int {
    if let base = piece.baseAddress { memcpy(end, base, piece.count) }
    return piece.count
  }

  /// Writes what was appended. What cannot be written is lost: the container must not wait for a full disk.
  func flush() {
    guard used > 0, let output = scratch.output.baseAddress else { return }
    if torn, write(descriptor, "\n", 1) == 1 { torn = false }
    var done = 0
    while done < used {
      let count = write(descriptor, output + done, used - done)
      if count < 0, clinux_errno() == EINTR { continue }
      if count <= 0 { break }
      done += count
    }
    if done < used {
      lostBytes += UInt64(used - done)
      if done > 0 { torn = (output + done - 1).load(as: UInt8.self) != 10 }
    }
    used = 0
  }

  /// Only ever a regular file of ours: a link, pipe or second name in the log directory was put there by somebody.
  private static func open(_ path: String) throws(StepFailure) -> Int32 {
    let flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY
    var file = path.withCString { clinux_open($0, flags, 0o640) }
    if file == -ENOENT {
      makeParents(path)
      file = path.withCString { clinux_open($0, flags, 0o640) }
    }
    guard file >= 0 else { throw StepFailure(step: "open log", errno: -file, subject: path) }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & mode_t(S_IFMT) == mode_t(S_IFREG), status.st_nlink == 1 else {
      _ = close(file)
      throw StepFailure(step: "open log: not a regular file of one name", errno: EINVAL, subject: path)
    }
    return file
  }

  private static func makeParents(_ path: String) {
    var bytes = Array(path.utf8CString)
    for index in bytes.indices.dropFirst() where bytes[index] == 0x2f {
      bytes[index] = 0
      _ = bytes.withUnsafeBufferPointer { $0.baseAddress.map { mkdir($0, 0o755) } }
      bytes[index] = 0x2f
    }
  }
}
