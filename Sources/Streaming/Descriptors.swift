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

  /// The reading end of a pipe, or a terminal; takes it over.
  func reading(_ raw: Int32) async throws -> ReadingChannel {
    try await owning(raw) {
      try await NIOPipeBootstrap(group: group).channelOption(.maxMessagesPerRead, value: 1)
        .takingOwnershipOfDescriptor(input: raw) { channel in
          channel.eventLoop.makeCompletedFuture { try Self.wrap(channel) }
        }
    }
  }

  /// The writing end of a pipe, or a terminal; takes it over.
  func writing(_ raw: Int32) async throws -> any Channel {
    try await owning(raw) {
      try await NIOPipeBootstrap(group: group).takingOwnershipOfDescriptor(output: raw) { channel in
        channel.eventLoop.makeSucceededFuture(channel)
      }
    }
  }

  /// A connected stream socket, each direction of which ends by itself; takes it over.
  func socket(_ raw: Int32) async throws -> ReadingChannel {
    try await owning(raw) {
      try await ClientBootstrap(group: group).channelOption(.allowRemoteHalfClosure, value: true)
        .channelOption(.maxMessagesPerRead, value: 1)
        .withConnectedSocket(raw) { channel in channel.eventLoop.makeCompletedFuture { try Self.wrap(channel) } }
    }
  }

  /// On the channel's event loop.
  static func wrap(_ channel: any Channel) throws -> ReadingChannel {
    try ReadingChannel(wrappingChannelSynchronously: channel, configuration: .init(backPressureStrategy: pressure))
  }

  /// NIO leaves the descriptor to its caller when it fails.
  private func owning<Channel>(_ raw: Int32, _ body: () async throws -> Channel) async throws -> Channel {
    do {
      return try await body()
    } catch {
      _ = OwnedFD(owning: raw)
      throw error
    }
  }
}
