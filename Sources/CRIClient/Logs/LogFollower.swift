import CRIProtocol
import Foundation
import Glibc
import SwiftProtobuf

/// Reads a container's log file from its beginning, across rotations.
struct LogFile: ~Copyable {
  private let path: String
  private var descriptor: Int32 = -1
  private var position = 0
  private var identity: (device: UInt64, inode: UInt64) = (0, 0)

  init(path: String) { self.path = path }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// The next bytes, empty at the end of what there is.
  ///
  /// - Throws: ``ClientError`` when the file cannot be read; a file that is not there yet is merely empty.
  mutating func read() throws(ClientError) -> [UInt8] {
    if descriptor < 0, try !open() { return [] }
    let bytes = try readChunk()
    if !bytes.isEmpty { return bytes }
    guard try isReplaced() else { return [] }
    // The old file was read to its end after the new one had appeared: the runtime writes to the new one alone.
    let last = try readChunk()
    if !last.isEmpty { return last }
    close(descriptor)
    descriptor = -1
    guard try open() else { return [] }
    return try readChunk()
  }

  private mutating func open() throws(ClientError) -> Bool {
    let opened = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard opened >= 0 else {
      if errno == ENOENT { return false }
      throw failure("open")
    }
    var status = stat()
    guard fstat(opened, &status) == 0 else {
      close(opened)
      throw failure("stat")
    }
    descriptor = opened
    position = 0
    identity = (UInt64(status.st_dev), UInt64(status.st_ino))
    return true
  }

  private mutating func readChunk() throws(ClientError) -> [UInt8] {
    var failed: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: 65_536) { buffer, count in
      let result = pread(descriptor, buffer.baseAddress, buffer.count, position)
      failed = result < 0 ? errno : 0
      count = max(0, result)
    }
    guard failed == 0 || failed == EINTR else { throw failure("read") }
    position += bytes.count
    return bytes
  }

  /// The name leads to another file now, or the file was cut.
  private mutating func isReplaced() throws(ClientError) -> Bool {
    var status = stat()
    guard stat(path, &status) == 0 else { return false }
    if (UInt64(status.st_dev), UInt64(status.st_ino)) != identity { return true }
    if status.st_size < position { position = 0 }
    return false
  }

  private func failure(_ call: String) -> ClientError {
    ClientError(.failed, "cannot \(call) the log \(path)", why: String(cString: strerror(errno)))
  }
}

/// Prints a container's log.
struct LogPrinter: Sendable {
  var showsTimestamps = false
  /// Written before each line; empty for none.
  var prefix = ""

  func print(_ line: LogAssembler.Line) {
    var bytes = Array(prefix.utf8)
    if showsTimestamps { bytes += Array((line.timestamp + " ").utf8) }
    bytes += line.content
    if line.hasNewline || !prefix.isEmpty { bytes.append(UInt8(ascii: "\n")) }
    Terminal.write(bytes, to: line.stream.descriptor)
  }
}

/// Follows one container's log until the container has ended.
struct LogFollower: Sendable {
  let connection: RuntimeConnection
  let containerID: String
  let path: String
  let printer: LogPrinter
  /// How many lines before the present to begin with; nil for all.
  let tail: Int?

  /// How often a quiet file is looked at, and a quiet container asked for.
  static let filePeriod = Duration.milliseconds(100)
  static let statusPeriod = Duration.milliseconds(500)

  func run(follow: Bool) async throws {
    var file = LogFile(path: path)
    var assembler = LogAssembler()
    try printPast(&file, &assembler)
    var hasEnded = !follow
    var nextStatus = ContinuousClock.now
    while true {
      let bytes = try file.read()
      if !bytes.isEmpty {
        for line in assembler.take(bytes) { printer.print(line) }
        continue
      }
      // Only a read after the container's end can have been the last one.
      if hasEnded { break }
      if ContinuousClock.now >= nextStatus {
        hasEnded = try await !isAlive()
        nextStatus = ContinuousClock.now + Self.statusPeriod
        if hasEnded { continue }
      }
      try await Task.sleep(for: Self.filePeriod)
    }
    for line in assembler.finish() { printer.print(line) }
  }

  /// Prints what the file holds already, the last `tail` lines of it.
  private func printPast(_ file: inout LogFile, _ assembler: inout LogAssembler) throws {
    guard let tail else { return }
    var kept: [LogAssembler.Line] = []
    while true {
      let bytes = try file.read()
      if bytes.isEmpty { break }
      kept += assembler.take(bytes)
      if kept.count > 2 * tail + 1024 { kept.removeFirst(kept.count - tail) }
    }
    for line in kept.suffix(tail) { printer.print(line) }
  }

  private func isAlive() async throws -> Bool {
    do {
      let state = try await connection.call("ask for the container", deadline: .seconds(30)) { connection, options in
        try await connection.runtime.containerStatus(.with { $0.containerID = containerID }, options: options)
          .status.state
      }
      return state == .containerRunning || state == .containerCreated
    } catch  where ClientError.isNotFound(error) {
      return false
    }
  }
}
