import LinuxSystem
import NIOCore

/// This side's end of a process's pipe or terminal; closed when it goes out of scope.
///
/// Not a channel of NIO's: to NIO a hang-up with nothing to read behind it is a fault that ends the daemon, and a process
/// can have that at will. It closes its end and opens it again: /dev/pts has a terminal's, /proc/self/fd a pipe's.
struct ProcessEnd: ~Copyable {
  /// Bytes read at once, as they go to the client.
  private static let block = 32 << 10

  private let descriptor: OwnedFD
  private let exits: ExitWatcher

  /// - Throws: `SystemCallError`.
  init(_ descriptor: consuming OwnedFD, _ exits: ExitWatcher) throws {
    try descriptor.stopBlocking()
    self.descriptor = descriptor
    self.exits = exits
  }

  /// Waits for output.
  /// - Returns: nil at the end.
  /// - Throws: CancellationError; `SystemCallError`, EIO of a terminal that has hung up for one.
  func read() async throws -> ByteBuffer? {
    while true {
      if let bytes = try readNow() { return bytes.readableBytes > 0 ? bytes : nil }
      try await exits.readiness(of: descriptor, for: .input)
    }
  }

  /// Waits until the process, or the kernel for it, has taken all.
  /// - Throws: CancellationError; `SystemCallError`, EPIPE when nobody can read it for one.
  func write(_ bytes: ByteBuffer) async throws {
    var bytes = bytes
    while bytes.readableBytes > 0 {
      if let count = try bytes.withUnsafeReadableBytes({ try descriptor.writeNow($0) }) {
        bytes.moveReaderIndex(forwardBy: count)
      } else {
        try await exits.readiness(of: descriptor, for: .output)
      }
    }
  }

  /// - Returns: no bytes at the end; nil when there is nothing now.
  private func readNow() throws -> ByteBuffer? {
    var bytes = ByteBuffer()
    var count: Int?
    try bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: Self.block) { space in
      count = try descriptor.readNow(into: UnsafeMutableRawBufferPointer(rebasing: space.prefix(Self.block)))
      return count ?? 0
    }
    return count == nil ? nil : bytes
  }
}
