import Glibc
import Synchronization

/// Where output goes: data to standard output, everything that is told to a person to standard error.
struct Terminal: Sendable {
  let coloursData: Bool
  let coloursNotes: Bool
  /// Standard error is a terminal, so that a line may be redrawn.
  let interactive: Bool

  static let current = Terminal(environment: { name in getenv(name).map { String(cString: $0) } })

  /// - Parameter environment: looks a variable up. `NO_COLOR`, when set and not empty, switches colours off
  ///   (https://no-color.org); so does `TERM=dumb`.
  init(
    environment: (String) -> String?, dataIsTerminal: Bool = isatty(1) == 1, notesIsTerminal: Bool = isatty(2) == 1
  ) {
    let plain = !(environment("NO_COLOR") ?? "").isEmpty || environment("TERM") == "dumb"
    coloursData = dataIsTerminal && !plain
    coloursNotes = notesIsTerminal && !plain
    interactive = notesIsTerminal && environment("TERM") != "dumb"
  }

  /// Writes one line of data to standard output.
  func data(_ line: String) { Self.write(Array((line + "\n").utf8), to: 1) }

  /// Writes one line for the person at the terminal.
  func note(_ line: String) { Self.write(Array((line + "\n").utf8), to: 2) }

  func warn(_ line: String) { note(paintNote("warning:", .yellow) + " " + line) }

  func paintData(_ text: String, _ colour: Colour) -> String { coloursData ? colour.wrap(text) : text }

  func paintNote(_ text: String, _ colour: Colour) -> String { coloursNotes ? colour.wrap(text) : text }

  /// Writes all of `bytes`. A reader that has gone away ends the process as SIGPIPE would.
  static func write(_ bytes: [UInt8], to descriptor: Int32) {
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        Glibc.write(descriptor, buffer.baseAddress.map { $0 + written }, bytes.count - written)
      }
      if count >= 0 {
        written += count
      } else if errno == EPIPE {
        // NIO ignores SIGPIPE for the whole process, so that its default action has to be played here.
        RawTerminal.leave(128 + SIGPIPE)
      } else if errno == EAGAIN {
        var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = poll(&waiting, 1, 1000)
      } else if errno != EINTR {
        return
      }
    }
  }
}

enum Colour: Int, Sendable {
  case red = 31
  case green = 32
  case yellow = 33
  case blue = 34
  case magenta = 35
  case cyan = 36
  case grey = 90

  func wrap(_ text: String) -> String { "\u{1B}[\(rawValue)m\(text)\u{1B}[0m" }

  /// The colours that tell several logs apart.
  static let prefixes: [Colour] = [.cyan, .magenta, .green, .yellow, .blue]
}
