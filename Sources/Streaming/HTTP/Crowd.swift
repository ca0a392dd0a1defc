import NIOCore
import Synchronization

/// Who is connected: strangers, who have not shown a token yet, and guests.
///
/// Whoever reaches the port can be a stranger, and must not keep a guest out by that: where there are too many, the one
/// that came first leaves. A guest is a stranger for one round trip.
final class Crowd: Sendable {
  private struct State {
    /// First come, first out.
    var strangers: [any Channel] = []
    var guests: Set<ObjectIdentifier> = []
  }

  private let strangers: Int
  private let guests: Int
  private let state = Mutex(State())

  /// - Parameters: how many of each there may be.
  init(strangers: Int, guests: Int) {
    self.strangers = strangers
    self.guests = guests
  }

  /// A new connection.
  func enter(_ channel: any Channel) {
    let oldest = state.withLock { state in
      state.strangers.append(channel)
      return state.strangers.count > strangers ? state.strangers.removeFirst() : nil
    }
    let id = ObjectIdentifier(channel)
    channel.closeFuture.whenComplete { _ in self.leave(id) }
    oldest?.close(promise: nil)
  }

  /// The connection has shown a good token.
  /// - Returns: false when there are too many guests.
  func welcome(_ channel: any Channel) -> Bool {
    state.withLock { state in
      guard state.guests.count < guests else { return false }
      state.strangers.removeAll { $0 === channel }
      state.guests.insert(ObjectIdentifier(channel))
      return true
    }
  }

  private func leave(_ id: ObjectIdentifier) {
    state.withLock { state in
      state.strangers.removeAll { ObjectIdentifier($0) == id }
      state.guests.remove(id)
    }
  }
}
