import Glibc
import Synchronization

/// Says what is being waited for once it takes more than a second.
enum Waiting {
  private static let frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"]

  /// Runs `body`; meanwhile a line on standard error shows `text` and the time that went by. Without a terminal it is
  /// written once, after five seconds.
  static func show<Result: Sendable>(
    _ text: String?, _ body: @Sendable () async throws -> Result
  ) async throws -> Result {
    guard let text else { return try await body() }
    let terminal = Terminal.current
    let ticker = Task {
      let start = ContinuousClock.now
      try await Task.sleep(for: terminal.interactive ? .seconds(1) : .seconds(5))
      guard terminal.interactive else {
        terminal.note("waiting: \(text)")
        return
      }
      var frame = 0
      defer { Terminal.write(Array("\r\u{1B}[K".utf8), to: 2) }
      while true {
        let seconds = (ContinuousClock.now - start).components.seconds
        let line = "\r\u{1B}[K\(terminal.paintNote(frames[frame % frames.count], .cyan)) \(text)   \(seconds) s"
        Terminal.write(Array(line.utf8), to: 2)
        frame += 1
        try await Task.sleep(for: .milliseconds(120))
      }
    }
    do {
      let result = try await body()
      await end(ticker)
      return result
    } catch {
      await end(ticker)
      throw error
    }
  }

  private static func end(_ ticker: Task<Void, any Error>) async {
    ticker.cancel()
    _ = await ticker.result
  }
}
