import FoundationEssentials
import NIOCore
import NIOWebSocket
import SPDY

/// What a WebSocket sub-protocol of remotecommand has (CRI.md 5.4).
struct WebSocketDialect: Sendable, Hashable {
  /// The channel is an ASCII digit and the rest base64, in text messages.
  var isText: Bool
  /// The error channel has a JSON status.
  var hasStatus: Bool
  /// A channel can be closed by itself.
  var hasClose: Bool

  init(_ name: String) {
    isText = name.hasSuffix("base64.channel.k8s.io")
    hasStatus = name.hasPrefix("v4.") || name.hasPrefix("v5.")
    hasClose = name.hasPrefix("v5.")
  }
}

/// The channels of a command's streams.
enum WebSocketRole {
  static let stdin: UInt8 = 0, stdout: UInt8 = 1, stderr: UInt8 = 2, error: UInt8 = 3, resize: UInt8 = 4,
    close: UInt8 = 255
}

/// A command's client over WebSocket.
struct WebSocketCommandClient: CommandClient {
  let writer: WebSocketWriter
  let dialect: WebSocketDialect
  let selection: StreamSelection
  /// Bytes of a message.
  private static let messageSize = 32 << 10

  /// Tells the client that all is open, on the lowest channel it reads.
  func greet() async throws {
    let channel =
      selection.stdout ? WebSocketRole.stdout : selection.stderr ? WebSocketRole.stderr : WebSocketRole.error
    try await send(ByteBuffer(), channel)
  }

  func write(_ bytes: ByteBuffer, to stream: OutputStream) async throws {
    // As where the client has no such stream to open.
    guard stream == .stdout ? selection.stdout : selection.stderr else { throw StreamIsReset() }
    var bytes = bytes
    while let piece = bytes.readSlice(length: min(bytes.readableBytes, Self.messageSize)), piece.readableBytes > 0 {
      try await send(piece, stream == .stdout ? WebSocketRole.stdout : WebSocketRole.stderr)
    }
  }

  func end(_ stream: OutputStream) async throws {}

  func finish(_ outcome: CommandOutcome) async throws {
    let text = dialect.hasStatus ? outcome.status : outcome.text
    if !text.isEmpty { try await send(ByteBuffer(string: text), WebSocketRole.error) }
    try await writer.close(.normalClosure)
  }

  private func send(_ bytes: ByteBuffer, _ channel: UInt8) async throws {
    var message = ByteBuffer()
    if dialect.isText {
      message.writeInteger(UInt8(ascii: "0") + channel)
      message.writeString(Data(bytes.readableBytesView).base64EncodedString())
    } else {
      message.reserveCapacity(1 + bytes.readableBytes)
      message.writeInteger(channel)
      message.writeImmutableBuffer(bytes)
    }
    try await writer.send(dialect.isText ? .text : .binary, message)
  }
}

/// A command's input from WebSocket messages.
struct WebSocketInput: Sendable {
  let dialect: WebSocketDialect
  let stdin: Inbox
  let resize: Inbox

  /// Serves until the client closes or leaves.
  /// - Throws: ``WebSocketViolation``; what the connection fails with.
  func run(_ messages: inout WebSocketMessages) async throws {
    defer {
      stdin.finish()
      resize.finish()
    }
    while let (opcode, bytes) = try await messages.next() {
      // Either opcode: there are clients that send base64 in binary messages.
      var bytes = bytes
      guard let first: UInt8 = bytes.readInteger() else { continue }
      if dialect.hasClose, first == WebSocketRole.close {
        try close(bytes)
        continue
      }
      let channel = dialect.isText ? first &- UInt8(ascii: "0") : first
      guard channel == WebSocketRole.stdin || channel == WebSocketRole.resize else { continue }
      if dialect.isText {
        guard let plain = Data(base64Encoded: Data(bytes.readableBytesView)) else {
          throw WebSocketViolation(description: "a \(opcode) message is not base64")
        }
        bytes = ByteBuffer(bytes: plain)
      }
      await (channel == WebSocketRole.stdin ? stdin : resize).put(bytes)
    }
  }

  private func close(_ bytes: ByteBuffer) throws {
    guard bytes.readableBytes == 1, let channel = bytes.readableBytesView.first, channel <= WebSocketRole.resize else {
      throw WebSocketViolation(description: "a close signal does not name one channel")
    }
    if channel == WebSocketRole.stdin { stdin.finish() }
    if channel == WebSocketRole.resize { resize.finish() }
  }
}
