import CLinux

/// A container's log: records appended, several in one write when several are at hand.
///
/// The container never waits for a full or broken disk: what cannot be written is lost, counted, and told by a record of
/// ours in its place as soon as something can be written again.
///
/// A disk that neither takes nor refuses a write (NFS without its server) does hold the pod: write(2) sleeps in the
/// kernel, which has no way around for files (O_NONBLOCK means nothing to them, RWF_NOWAIT is not for buffered writes on
/// ext4), and with it sleeps this process of one thread. Other pods do not notice, and what the daemon asks of this shim
/// meanwhile ends by its deadlines (ATTACKS S03). A second process that shares our memory and writes for us would cost
/// 4 KiB and 6 us a write; a thread would not do, since a process with one in such a write cannot be reaped.
final class LogFile {
  private let place: LogPlace
  private let scratch: Scratch
  private var descriptor: Int32
  private var used = 0
  /// A write failed inside a record, and it could not be cut off: the next one must begin on a line of its own.
  private var torn = false
  /// Bytes of records that could not be written, since the container began.
  private(set) var lostBytes: UInt64 = 0
  /// Those of them that no record tells of yet, and why.
  private var untold: UInt64 = 0
  private var reason: Int32 = 0

  /// Opens or creates the file.
  init(_ place: LogPlace, scratch: Scratch) throws(StepFailure) {
    descriptor = try place.open()
    self.place = place
    self.scratch = scratch
  }

  deinit {
    closeAndForget(&descriptor)
  }

  /// Goes on in a new file at the same path. The old one stays in use when that fails.
  func reopen() throws(StepFailure) {
    let next = try place.open()
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

  /// Writes what was appended.
  func flush() {
    guard used > 0, let output = scratch.output.baseAddress else { return }
    tellLoss()
    let done = untold == 0 ? writeRecords(output, used) : 0
    if done < used {
      lostBytes += UInt64(used - done)
      untold += UInt64(used - done)
    }
    used = 0
  }

  /// Writes a record that says how much is missing before it; nothing happens when nothing is.
  func tellLoss() {
    guard untold > 0 else { return }
    var line = [UInt8](repeating: 0, count: Timestamp.size)
    line.withUnsafeMutableBytes { Timestamp.store(wallClock(), to: $0) }
    line.append(contentsOf: " stderr F swiftlet: \(untold) bytes of this log are lost: \(errorName(reason))\n".utf8)
    let written = line.withUnsafeBytes { bytes in bytes.baseAddress.map { writeRecords($0, bytes.count) } ?? 0 }
    if written == line.count { untold = 0 }
  }

  /// Writes whole records: what a full disk took of one more is cut off again.
  /// - Returns: how many bytes, up to the end of a record.
  private func writeRecords(_ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    if torn {
      guard write(descriptor, "\n", 1) == 1 else { return 0 }
      torn = false
    }
    var done = 0
    while done < count {
      let written = write(descriptor, bytes + done, count - done)
      if written < 0, clinux_errno() == EINTR { continue }
      if written <= 0 {
        reason = written < 0 ? clinux_errno() : EIO
        break
      }
      done += written
    }
    guard done < count else { return done }
    var whole = done
    while whole > 0, (bytes + whole - 1).load(as: UInt8.self) != 10 { whole -= 1 }
    if whole < done {
      // Appending leaves the position at the end of what was written.
      let end = lseek(descriptor, 0, SEEK_CUR)
      torn = end < done - whole || ftruncate(descriptor, end - (done - whole)) != 0
    }
    return whole
  }
}
