import Dispatch
import Glibc
import RuntimeModel
import Synchronization

/// The terminal at standard input, each key passed on as it is typed.
struct RawTerminal: Sendable {
  private let before: termios
  /// The one that is raw now.
  private static let current = Mutex<RawTerminal?>(nil)

  /// Switches to raw mode; nil when standard input is no terminal.
  init?() {
    var settings = termios()
    guard tcgetattr(0, &settings) == 0 else { return nil }
    before = settings
    cfmakeraw(&settings)
    guard tcsetattr(0, TCSADRAIN, &settings) == 0 else { return nil }
    Self.current.withLock { $0 = self }
  }

  func restore() {
    var settings = before
    _ = tcsetattr(0, TCSADRAIN, &settings)
    Self.current.withLock { $0 = nil }
  }

  /// Ends the process at once, and leaves the person a terminal that is usable.
  static func leave(_ status: Int32) -> Never {
    current.withLock { $0 }?.restore()
    _exit(status)
  }

  static var size: TerminalSize? {
    var size = winsize()
    guard ioctl(0, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return nil }
    return TerminalSize(width: size.ws_col, height: size.ws_row)
  }

  /// Calls `body` with the terminal's size now, and again whenever it changes, until the source is cancelled.
  static func watchSize(_ body: @escaping @Sendable (TerminalSize) -> Void) -> any DispatchSourceSignal {
    if let size { body(size) }
    let source = DispatchSource.makeSignalSource(signal: SIGWINCH, queue: .global())
    source.setEventHandler {
      if let size { body(size) }
    }
    source.resume()
    return source
  }
}
