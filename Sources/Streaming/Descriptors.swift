import LinuxSystem
import NIOCore
import NIOPosix

/// A channel whose bytes are read only as somebody takes them, a block or two ahead. Must be executed, which closes it.
typealias ReadingChannel = NIOAsyncChannel<ByteBuffer, Never>

/// Descriptors as channels.
struct Descriptors: Sendable {
  let group: MultiThreadedEventLoopGroup

  static let pressure = NIOAsyncSequenceProducerBackPressureStrategies.HighLowWatermark(
    lowWatermark: 1, highWatermark: 2)

  /// What the kernel may hold of what comes on a socket, as SO_RCVBUF, which the kernel doubles. NIO reads it all once the
  /// other end has closed, whoever wants it or not; without a limit it grows to tcp_rmem's, and all of that into memory.
  static let receiveBuffer = 128 << 10

  /// A connected stream socket, each direction of which ends by itself.
  func socket(_ descriptor: consuming OwnedFD) async throws -> ReadingChannel {
    // NIO leaves a descriptor to its caller only if this fails, with which it begins; then it closes it with its channel.
    try descriptor.stopBlocking()
    return try await ClientBootstrap(group: group).channelOption(.allowRemoteHalfClosure, value: true)
      .channelOption(.maxMessagesPerRead, value: 1)
      .channelOption(.socketOption(.so_rcvbuf), value: Self.receiveBuffer)
      .withConnectedSocket(descriptor.release()) { channel in
        channel.eventLoop.makeCompletedFuture { try Self.wrap(channel) }
      }
  }

  /// On the channel's event loop.
  static func wrap(_ channel: any Channel) throws -> ReadingChannel {
    try ReadingChannel(wrappingChannelSynchronously: channel, configuration: .init(backPressureStrategy: pressure))
  }
}
