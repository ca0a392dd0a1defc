import CLinux

/// Something that waits for a descriptor.
protocol Watcher: AnyObject {
  /// The descriptor has what was asked for, or an error or hang-up, which a read or write will tell.
  func ready()
}

/// The process's one loop: descriptors by epoll, deadlines by its timeout. Level-triggered, single-threaded.
final class Loop {
  /// Names a watched descriptor.
  struct Token {
    fileprivate var slot: UInt32
    fileprivate var generation: UInt32
  }

  /// Names a deadline; 0 is none.
  typealias TimerToken = UInt64

  private struct Slot {
    var watcher: (any Watcher)?
    var descriptor: Int32
    var generation: UInt32
  }

  private struct Timer {
    var token: TimerToken
    var deadline: Int64
    var action: () -> Void
  }

  private static let batch = 32
  /// How long nothing must happen before memory goes back to the kernel.
  private static let idle: Int64 = 100_000_000

  private let epoll: Int32
  private let events: UnsafeMutablePointer<epoll_event>
  private var slots: [Slot] = []
  private var timers: [Timer] = []
  private var lastTimer: TimerToken = 0
  private var ended = false
  /// Called when the loop has been idle for a while after it did something.
  private let onIdle: () -> Void

  init?(onIdle: @escaping () -> Void) {
    let descriptor = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard descriptor >= 0 else { return nil }
    epoll = descriptor
    events = UnsafeMutablePointer<epoll_event>.allocate(capacity: Loop.batch)
    self.onIdle = onIdle
  }

  static let readable = EPOLLIN.rawValue
  static let writable = EPOLLOUT.rawValue

  /// Watches a descriptor until `forget`.
  func watch(_ descriptor: Int32, _ interest: UInt32, _ watcher: any Watcher) -> Token {
    var index = 0
    while index < slots.count, slots[index].watcher != nil { index += 1 }
    if index == slots.count { slots.append(Slot(watcher: nil, descriptor: -1, generation: 0)) }
    slots[index].watcher = watcher
    slots[index].descriptor = descriptor
    slots[index].generation &+= 1
    let token = Token(slot: UInt32(index), generation: slots[index].generation)
    control(EPOLL_CTL_ADD, descriptor, interest, token)
    return token
  }

  /// Changes what is waited for.
  func change(_ token: Token, _ interest: UInt32) {
    guard slots[Int(token.slot)].generation == token.generation else { return }
    control(EPOLL_CTL_MOD, slots[Int(token.slot)].descriptor, interest, token)
  }

  /// Stops watching; must come before the descriptor is closed.
  func forget(_ token: Token) {
    let index = Int(token.slot)
    guard slots[index].generation == token.generation, slots[index].watcher != nil else { return }
    control(EPOLL_CTL_DEL, slots[index].descriptor, 0, token)
    slots[index].watcher = nil
    slots[index].generation &+= 1
  }

  private func control(_ operation: Int32, _ descriptor: Int32, _ interest: UInt32, _ token: Token) {
    var event = epoll_event()
    event.events = interest
    event.data.u64 = UInt64(token.generation) << 32 | UInt64(token.slot)
    _ = epoll_ctl(epoll, operation, descriptor, &event)
  }

  /// Calls `action` once, `nanoseconds` from now.
  func after(_ nanoseconds: Int64, _ action: @escaping () -> Void) -> TimerToken {
    lastTimer += 1
    let (deadline, overflow) = monotonicClock().addingReportingOverflow(max(0, nanoseconds))
    timers.append(Timer(token: lastTimer, deadline: overflow ? Int64.max : deadline, action: action))
    return lastTimer
  }

  /// Forgets a deadline; nothing happens when it has passed.
  func cancel(_ token: inout TimerToken) {
    var index = 0
    while token != 0, index < timers.count {
      if timers[index].token == token {
        timers.remove(at: index)
        break
      }
      index += 1
    }
    token = 0
  }

  /// Makes `run` return after the present event.
  func end() {
    ended = true
  }

  func run() {
    var busy = true
    while !ended {
      var wait = nextDeadline().map { max(0, $0 - monotonicClock()) }
      let idleFirst = busy && (wait.map { $0 > Loop.idle } ?? true)
      if idleFirst { wait = Loop.idle }
      let milliseconds = wait.map { Int32(clamping: ($0 + 999_999) / 1_000_000) } ?? -1
      let count = epoll_wait(epoll, events, Int32(Loop.batch), milliseconds)
      if count == 0, idleFirst {
        busy = false
        onIdle()
      }
      if count > 0 {
        busy = true
        dispatch(Int(count))
      }
      fireTimers()
    }
  }

  private func dispatch(_ count: Int) {
    for index in 0..<count {
      let data = events[index].data.u64
      let slot = Int(data & 0xffff_ffff)
      // An earlier event of this batch may have ended what this one was about.
      guard slots[slot].generation == UInt32(data >> 32), let watcher = slots[slot].watcher else { continue }
      watcher.ready()
    }
  }

  private func nextDeadline() -> Int64? {
    var next: Int64?
    for timer in timers where timer.deadline < next ?? Int64.max { next = timer.deadline }
    return next
  }

  private func fireTimers() {
    guard !timers.isEmpty else { return }
    let now = monotonicClock()
    while let index = timers.firstIndex(where: { $0.deadline <= now }) {
      timers.remove(at: index).action()
    }
  }
}
