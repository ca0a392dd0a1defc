import LinuxSystem
import NIOCore

/// This side's end of a process's pipe or terminal; closed when it goes out of scope.
///
/// Not a channel of NIO's: to NIO a hang-up with nothing to read behind it is a fault that ends the daemon, and a process
/// can have that at will. It closes its end and opens it again: /dev/pts has a terminal's, /proc/self/fd a pipe's.
struct ProcessEnd: ~Copyable {
  /// Bytes read at once, as they go to the client.
  private static let block = 32 << 10

  /// Threads for the calls, closing among them: the process can hold up each for as long as it likes, see
  /// ``NonBlocking``. Sessions wait for one another where there are as many such processes, and nothing else does.
  private static let calls = BlockingPool(threads: 32)

  /// Closed in the end.
  private let descriptor: Int32
  private let exits: ExitWatcher

  /// - Throws: `SystemCallError`.
  init(_ descriptor: consuming OwnedFD, _ exits: ExitWatcher) throws {
    try descriptor.stopBlocking()
    self.descriptor = descriptor.release()
    self.exits = exits
  }

  deinit {
    let descriptor = descriptor
    Task { try await Self.calls.run { _ = OwnedFD(owning: descriptor) } }
  }

  /// Waits for output.
  /// - Returns: nil at the end.
  /// - Throws: CancellationError; `SystemCallError`, EIO of a terminal that has hung up for one.
  func read() async throws -> ByteBuffer? {
    while true {
      if let bytes = try await readNow() { return bytes.readableBytes > 0 ? bytes : nil }
      try await exits.readiness(of: descriptor, for: .input)
    }
  }

  /// Waits until the process, or the kernel for it, has taken all.
  /// - Throws: CancellationError; `SystemCallError`, EPIPE when nobody can read it for one.
  func write(_ bytes: ByteBuffer) async throws {
    var bytes = bytes
    while bytes.readableBytes > 0 {
      if let count = try await writeNow(bytes) {
        bytes.moveReaderIndex(forwardBy: count)
      } else {
        try await exits.readiness(of: descriptor, for: .output)
      }
    }
  }

  /// - Returns: no bytes at the end; nil when there is nothing now.
  private func readNow() async throws -> ByteBuffer? {
    let descriptor = descriptor
    return try await Self.calls.run {
      var bytes = ByteBuffer()
      var count: Int?
      try bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.block) { space in
        let space = UnsafeMutableRawBufferPointer(rebasing: space.prefix(Self.block))
        count = try NonBlocking.read(descriptor, into: space)
        return count ?? 0
      }
      return count == nil ? nil : bytes
    }
  }

  private func writeNow(_ bytes: ByteBuffer) async throws -> Int? {
    let descriptor = descriptor
    return try await Self.calls.run {
      try bytes.withUnsafeReadableBytes { try NonBlocking.write(descriptor, $0) }
    }
  }
}
