internal import CNetlink
internal import Glibc
internal import LinuxSystem

/// Wakes one waiting thread: an eventfd(2), so that it can be polled beside sockets.
final class Signal: Sendable {
  private let descriptor: SharedFD

  var raw: Int32 { descriptor.raw }

  init() {
    let raw = cnetlink_eventfd()
    precondition(raw >= 0, "eventfd: errno \(errno)")
    descriptor = SharedFD(OwnedFD(owning: raw))
  }

  func raise() {
    var one: UInt64 = 1
    // EAGAIN means that it is raised 2^64 times already.
    _ = write(raw, &one, 8)
  }

  /// Takes back what was raised.
  func clear() {
    var count: UInt64 = 0
    _ = read(raw, &count, 8)
  }

  /// Waits until it is raised, and clears it. -1: for ever.
  func wait(milliseconds: Int32) {
    var waiting = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
    if poll(&waiting, 1, milliseconds) > 0 { clear() }
  }
}
