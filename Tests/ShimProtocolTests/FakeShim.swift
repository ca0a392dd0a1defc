import Dispatch
import Glibc
import ShimProtocol
import SwiftProtobuf
import Synchronization

/// The shim's end of a connection, played by the test: a blocking reader on a thread of its own.
final class FakeShim: Sendable {
  /// One request as it came.
  struct Call: Sendable {
    var stream: UInt32
    var request: Swiftlet_Shim_V1_Request
    /// Descriptors that came with the frame's first bytes; the test's to close.
    var descriptors: [Int32]
  }

  /// Closed when both the fake and its reader are done with it: the reader of a test that is over must not find another
  /// test's socket under the number.
  private final class Socket: Sendable {
    let descriptor: Int32
    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }
  }

  private let socket: Socket
  var descriptor: Int32 { socket.descriptor }
  private let calls: AsyncStream<Call>.Continuation
  /// What the client asks, in order; ends with the connection.
  let requests: AsyncStream<Call>
  private let sending = Mutex(())

  /// - Parameter reading: false for a shim that takes nothing from its socket until ``read()`` is called.
  init(descriptor: Int32, reading: Bool = true) {
    socket = Socket(descriptor)
    (requests, calls) = AsyncStream.makeStream()
    if reading { read() }
  }

  deinit { die() }

  /// A client and the fake it is connected to.
  static func connected(reading: Bool = true) throws -> (ShimClient, FakeShim) {
    let (daemon, shim) = try ShimSocket.pair()
    return (try ShimClient.adopt(connected: daemon), FakeShim(descriptor: shim, reading: reading))
  }

  func read() {
    let socket = socket
    let calls = calls
    DispatchQueue(label: "fake shim").async {
      var decoder = FrameDecoder(limit: FrameCodec.requestLimit)
      var buffer = [UInt8](repeating: 0, count: 4096)
      var descriptors: [Int32] = []
      while true {
        let (count, received) = Self.receive(socket.descriptor, &buffer)
        descriptors += received
        guard count > 0, let frames = try? decoder.decode(Array(buffer[..<count]).span.bytes) else { break }
        for frame in frames {
          guard let request = try? Swiftlet_Shim_V1_Request(serializedBytes: frame.payload) else { break }
          calls.yield(Call(stream: frame.stream, request: request, descriptors: descriptors))
          descriptors = []
        }
      }
      calls.finish()
    }
  }

  /// Answers in pieces of at most `piece` bytes.
  func answer(_ call: Call, _ message: some Message, piece: Int = .max) throws {
    var response = Swiftlet_Shim_V1_Response()
    response.payload = try message.serializedBytes()
    try answer(call.stream, response, piece: piece)
  }

  func answer(_ stream: UInt32, _ response: Swiftlet_Shim_V1_Response, piece: Int = .max) throws {
    try send(Frame(stream: stream, type: Frame.response, payload: response.serializedBytes()), piece: piece)
  }

  func send(_ frame: Frame, piece: Int = .max) throws {
    var bytes = try FrameCodec.encode(frame, limit: FrameCodec.responseLimit)[...]
    sending.withLock { _ in
      while !bytes.isEmpty {
        let count = bytes.prefix(piece).withUnsafeBytes {
          Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
        guard count > 0 else { return }
        bytes = bytes.dropFirst(count)
      }
    }
  }

  /// Ends the connection, as the death of the process would.
  func die() { shutdown(descriptor, Int32(SHUT_RDWR)) }

  private static func receive(_ descriptor: Int32, _ buffer: inout [UInt8]) -> (Int, [Int32]) {
    var control = [UInt8](repeating: 0, count: 64)
    var received: [Int32] = []
    let count = buffer.withUnsafeMutableBytes { bytes in
      control.withUnsafeMutableBytes { control in
        var piece = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
        return withUnsafeMutablePointer(to: &piece) { piece in
          var message = msghdr()
          message.msg_iov = piece
          message.msg_iovlen = 1
          message.msg_control = control.baseAddress
          message.msg_controllen = control.count
          let count = recvmsg(descriptor, &message, 0)
          if count > 0, message.msg_controllen >= 20 {
            let length = control.load(as: Int.self)
            received = stride(from: 16, to: length, by: 4).map { control.load(fromByteOffset: $0, as: Int32.self) }
          }
          return count
        }
      }
    }
    return (count, received)
  }
}
